"""Whether the exact engine pays: what compiling and proving a shape takes, against what its calls save.

Calls are those that are planned. Where fewer are, as many are taken to follow as came before, in this process
or an earlier one: at worst, that costs twice what knowing would have. In the middle of a plan the engine does
not begin on that ground: what it cost would be saved after the plan, if at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from harness._util.atomic_files import write_bytes
from harness.schema.render import RenderRequest

SAVED_SECONDS = 0.04
"""Of a transformer call, on an H100, at 512² and at 1024² (``docs/speed.md``)."""

COLD_SECONDS = 17.0
"""Compiling, capturing and proving a shape whose kernels are in no cache, on an H200."""

WARM_SECONDS = 5.0
"""The same with compiled kernels in the cache, until this machine's own time is known."""

FILE = "shapes.json"

Shape = tuple[object, ...]


class _Known(BaseModel):
    """What earlier processes know of a shape: seconds until it is proved, and calls that were eager."""

    seconds: float = COLD_SECONDS
    compiled: bool = False
    calls: int = 0


_FILE_CONTENT = TypeAdapter(dict[str, _Known])


class Outlook:
    """Transformer calls of every shape: how many came, and how many are planned.

    Args:
        folder: of compiled kernels: what is known of a shape is kept there; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = folder / FILE if folder is not None else None
        self._planned: Counter[Shape] = Counter()
        self._ready: set[Shape] = set()
        self._begun: set[Shape] = set()
        self._known = self._read()

    def begin(self) -> None:
        """Take note that another transformer was loaded: nothing is compiled for it."""
        self._ready.clear()

    def expect(self, requests: Iterable[RenderRequest]) -> None:
        """Take note of renders that are to come."""
        for request in requests:
            self._planned[shape_of(request)] += request.sample_steps

    def why_not(self, request: RenderRequest) -> str | None:
        """Count a render that begins; say why the engine does not pay for it, or None where it does."""
        shape, calls = shape_of(request), request.stop_after or request.sample_steps
        known = self._known.setdefault(repr(shape), _Known())
        is_midway = shape in self._begun and self._planned[shape] > 0
        ahead = max(calls, self._planned[shape], 0 if is_midway else known.calls)
        self._begun.add(shape)
        self._planned[shape] = max(0, self._planned[shape] - calls)
        if shape in self._ready or ahead * SAVED_SECONDS >= known.seconds:
            return None
        known.calls += calls
        self._write()
        saved = f"{ahead * SAVED_SECONDS:.0f} s in {ahead} calls"
        return f"the exact engine would take about {known.seconds:.0f} s to begin, and save {saved}"

    def took(self, request: RenderRequest, seconds: float) -> None:
        """Keep what compiling and proving took; 0 where nothing had to be."""
        shape = shape_of(request)
        if seconds > 0 and shape not in self._ready:
            known = self._known.setdefault(repr(shape), _Known())
            known.seconds = seconds if known.compiled else min(seconds, WARM_SECONDS)
            known.compiled, known.calls = True, 0
            self._write()
        self._ready.add(shape)

    def _read(self) -> dict[str, _Known]:
        try:
            return _FILE_CONTENT.validate_json(self._file.read_bytes()) if self._file is not None else {}
        except (OSError, ValidationError):
            return {}

    def _write(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._file, _FILE_CONTENT.dump_json(self._known), lasting=False)


def shape_of(request: RenderRequest) -> Shape:
    """Return what the shapes of a request's transformer calls follow from."""
    size, length = request.size(), request.max_sequence_length or request.spec.max_sequence_length
    return (request.model, request.dtype, *size, length, request.batch)
