"""Renders that a run need not make again: this run's own, and those of the runs beside it.

A run folder keeps its re-runs without loss and says in every row what decided their pixels, so the folders
are the store: nothing is kept twice, and deleting a run forgets its renders.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import CheckpointError, ImageError
from harness.runs.folder import RESULTS
from harness.runs.plan import facts_of
from harness.runs.scorer import pixels_sha256
from harness.schema.render import OnStep, Render, Renderer, RenderRequest, TrajectoryRenderer
from harness.schema.result import Row

NEIGHBOURS = 32
"""How many runs beside this one are looked into, the newest first."""

_KEY = re.compile(rb'"render_key":"([0-9a-f]{64})"')
_CODE = ("pipeline", "schema/render.py", "schema/spec.py")
_PACKAGE = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Keys:
    """Hashes of everything that decides a render's pixels.

    Attributes:
        revisions: of every base, by name.
        facts: environment, and the options that reach the pixels.
    """

    revisions: dict[str, str]
    facts: dict[str, Any]

    def of(self, request: RenderRequest) -> str:
        """Return the key of ``request``: base and LoRA by content, machine, libraries and our own code."""
        everything = {
            "request": {**facts_of(request), "base": self.revisions[str(request.base)]},
            "facts": self.facts,
            "attention": os.environ.get("DIFFUSERS_ATTN_BACKEND"),
            "code": code_sha256(),
        }
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


class Kept:
    """Rows by the key of their render, of one run folder and of the newest runs beside it.

    Args:
        wanted: keys to look for.
    """

    def __init__(self, folder: Path, wanted: Iterable[str]) -> None:
        self._rows: dict[str, tuple[Path, Row]] = {}
        wanted = set(wanted)
        for run in (*reversed(_neighbours(folder)), folder):
            self._rows |= {str(row.render_key): (run, row) for row in _rows(run, wanted)}

    def learn(self, folder: Path, row: Row) -> None:
        """Take note of a new row of ``folder``."""
        if row.render_key is not None:
            self._rows[row.render_key] = (folder, row)

    def find(self, key: str) -> Render | None:
        """Return the render of ``key``, or None where it is not kept, or not as it was."""
        from harness.metrics.images import load_rgb

        if key not in self._rows:
            return None
        folder, row = self._rows[key]
        if row.images.rerun is None or row.rendered is None:
            return None
        try:
            image = load_rgb(folder / row.images.rerun)
        except ImageError:
            return None
        if pixels_sha256(image) != row.image_sha256:
            return None
        return Render(
            image=image,
            rendered=row.rendered,
            seconds={"load": 0.0, "render": 0.0},
            latents_sha256=row.latents_sha256,
            warnings=tuple(row.warnings),
            key=key,
            taken_from=row.taken_from or folder.resolve().name,
        )


class Thrifty(Renderer):
    """A renderer that makes only what is not kept, and marks what it makes with its key."""

    def __init__(self, renderer: Renderer, keys: Keys, kept: Kept | None) -> None:
        self._renderer, self._keys, self._kept = renderer, keys, kept

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Take a kept render, or make it; see ``Renderer``.

        Raises:
            CheckpointError: another machine has another base of this name, or it was changed meanwhile.
        """
        key = self._keys.of(request)
        found = self._kept.find(key) if self._kept is not None else None
        return found or dataclasses.replace(self._made(request, on_step), key=key)

    def _made(self, request: RenderRequest, on_step: OnStep | None) -> Render:
        made = self._renderer.render(request, on_step)
        used, checked = made.rendered.revision, self._keys.revisions[str(request.base)]
        if used != checked:
            raise CheckpointError(
                f"was rendered with revision {used}, and {checked} was checked before the run",
                file=str(request.base),
                fix="pin it with --base OWNER/NAME@COMMIT, or copy one folder to every machine",
            )
        return made

    def trajectories(self) -> TrajectoryRenderer | None:
        """Return what the wrapped renderer offers."""
        return self._renderer.trajectories()

    def close(self) -> None:
        """Close the renderer."""
        self._renderer.close()


def _neighbours(folder: Path) -> list[Path]:
    """Return the newest other run folders of the same parent, newest first."""
    found: list[tuple[float, Path]] = []
    for results in folder.resolve().parent.glob(f"*/{RESULTS}"):
        if results.parent != folder.resolve():
            try:
                found.append((results.stat().st_mtime, results.parent))
            except OSError:  # deleted since
                continue
    return [run for _, run in sorted(found, reverse=True)[:NEIGHBOURS]]


def _rows(run: Path, wanted: set[str]) -> Iterator[Row]:
    """Yield the rows of ``run`` that hold a wanted render; what cannot be read holds none."""
    try:
        lines = (run / RESULTS).read_bytes().split(b"\n")[:-1]
    except OSError:
        return
    for line in lines:
        found = _KEY.search(line)
        if found is None or found[1].decode() not in wanted:
            continue
        try:
            yield Row.model_validate_json(line)
        except ValidationError:
            continue


@cache
def code_sha256() -> str:
    """Return a hash of our own code that a render goes through."""
    files = [
        file
        for name in _CODE
        for file in sorted((_PACKAGE / name).rglob("*.py") if "." not in name else [_PACKAGE / name])
    ]
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.relative_to(_PACKAGE).as_posix().encode() + file.read_bytes())
    return whole.hexdigest()
