"""Renders that run folders hold: this run's own, and those of the newest runs beside it.

A run folder keeps its re-runs without loss, and its rows say what decided their pixels. So the folders are
the store: nothing is kept twice, and deleting a run forgets its renders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from harness._util.real_paths import real_path
from harness.errors import ImageError
from harness.runs.run_files import RESULTS, read_results
from harness.runs.scorer import pixels_sha256
from harness.schema.render import Render
from harness.schema.result import Row

MAX_NEIGHBOURS = 32
"""How many runs beside this one are looked into, the newest first."""

_KEY = re.compile(rb'"render_key":"([0-9a-f]{64})"')


class StoredRenders:
    """Rows by the key of their render, of one run folder and of the newest runs beside it.

    Args:
        wanted: keys to look for.
    """

    def __init__(self, folder: Path, wanted: Iterable[str]) -> None:
        self._rows: dict[str, tuple[Path, Row]] = {}
        wanted = set(wanted)
        for run in (*reversed(_neighbours(folder)), folder):
            self._rows |= {str(row.render_key): (run, row) for row in _rows(run, wanted)}

    def add(self, folder: Path, row: Row) -> None:
        """Take note of a new row of ``folder``."""
        if row.render_key is not None:
            self._rows[row.render_key] = (folder, row)

    def find(self, key: str) -> Render | None:
        """Return the render of ``key``, or None where no folder holds it, or not as it was."""
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
            taken_from=row.taken_from or real_path(folder).name,
        )


def _neighbours(folder: Path) -> list[Path]:
    """Return the newest other run folders of the same parent, newest first."""
    found: list[tuple[float, Path]] = []
    for results in real_path(folder).parent.glob(f"*/{RESULTS}"):
        if results.parent != real_path(folder):
            try:
                found.append((results.stat().st_mtime, results.parent))
            except OSError:  # deleted since
                continue
    return [run for _, run in sorted(found, reverse=True)[:MAX_NEIGHBOURS]]


def _rows(run: Path, wanted: set[str]) -> Iterator[Row]:
    """Yield the rows of ``run`` that hold a wanted render; what cannot be read holds none."""
    try:
        lines = read_results(run / RESULTS).split(b"\n")[:-1]
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
