"""Whether the exact engine pays: what compiling and proving a shape takes, against what its calls save.

Calls are those that are planned. Where nothing is planned, as many are taken to follow as came before: at
worst, that costs twice what knowing would have.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harness.schema.render import RenderRequest

SAVED_SECONDS = 0.04
"""Of a transformer call, on an H100, at 512² and at 1024² (``docs/speed.md``)."""

COLD_SECONDS = 17.0
"""Compiling, capturing and proving a shape whose kernels are in no cache, on an H200."""

WARM_SECONDS = 5.0
"""The same with compiled kernels in the cache, until this machine's own time is known."""

Shape = tuple[object, ...]


class Outlook:
    """Transformer calls of every shape: how many came, and how many are planned.

    Args:
        folder: of compiled kernels: what a shape took is kept there; None where there is none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._planned: Counter[Shape] = Counter()
        self._made: Counter[Shape] = Counter()
        self._ready: set[Shape] = set()

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
        ahead = max(calls, self._planned[shape], self._made[shape])
        self._planned[shape] = max(0, self._planned[shape] - calls)
        self._made[shape] += calls
        cost = self._cost(shape)
        if shape in self._ready or ahead * SAVED_SECONDS >= cost:
            return None
        saved = f"{ahead * SAVED_SECONDS:.0f} s in {ahead} calls"
        return f"the exact engine would take about {cost:.0f} s to begin, and save {saved}"

    def took(self, request: RenderRequest, seconds: float) -> None:
        """Keep what compiling and proving took; 0 where nothing had to be."""
        shape = shape_of(request)
        if seconds > 0 and shape not in self._ready and self.folder is not None:
            known = self._seconds(shape)
            with suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                found = WARM_SECONDS if known is None else seconds
                self._file().write_text(json.dumps({**self._known(), repr(shape): round(found, 2)}))
        self._ready.add(shape)

    def _cost(self, shape: Shape) -> float:
        seconds = self._seconds(shape)
        return COLD_SECONDS if seconds is None else seconds

    def _seconds(self, shape: Shape) -> float | None:
        found = self._known().get(repr(shape))
        return found if isinstance(found, int | float) else None

    def _known(self) -> dict[str, object]:
        if self.folder is None:
            return {}
        try:
            found = json.loads(self._file().read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _file(self) -> Path:
        assert self.folder is not None
        return self.folder / "harness-shapes.json"


def shape_of(request: RenderRequest) -> Shape:
    """Return what the shapes of a request's transformer calls follow from."""
    size, length = request.size(), request.max_sequence_length or request.spec.max_sequence_length
    return (request.model, request.dtype, *size, length, request.batch)
