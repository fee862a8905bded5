"""One page per row, with its thumbnail and its pixels; large runs by several processes.

Each process is started afresh with its part on the command line: a process that has loaded torch must not be
forked, and a script that calls the harness must not be imported again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RunError
from harness.report.case_view import CaseView
from harness.report.comparisons import read_comparisons
from harness.report.diagnoses import read_diagnoses
from harness.report.formatting import script_json
from harness.report.media import Media, make_media
from harness.report.overview import run_environment, worst_first
from harness.report.page import linked_page, render
from harness.report.pictures import Link, beside, pictures
from harness.report.report_files import Output
from harness.report.settings_table import environment_changes, flat_words
from harness.report.sweep_page import sweep_slug, sweeps
from harness.runs.run_files import read_manifest, read_rows
from harness.schema.result import Row

CASES = "cases"

PIXEL_BUDGET = 256 * 1024 * 1024
"""Bytes of pixel scripts that a report writes, about; worst rows first. Later pages cannot read pixels."""

PARALLEL_FROM = 200
"""Rows from which several processes build."""

MAX_PROCESSES = 8


View = Callable[[Row, Link, str | None], CaseView]
"""Makes the view of a row: the row, how images are linked, the hash of its re-run's file."""


@dataclass(frozen=True)
class Built:
    """One row's page: its name, its thumbnail's address, and every file that belongs to it."""

    slug: str
    thumb: str | None
    files: list[str]


def build_cases(folder: Path, manifest: dict[str, Any], rows: list[Row], jobs: int | None) -> list[Built]:
    """Write the page of every row.

    Args:
        rows: all rows of the run, worst first.
        jobs: number of processes; None: as many as there are processors, for large runs.

    Raises:
        RunError: a process failed.
        OSError: a file cannot be written.
    """
    parts = jobs or (min(MAX_PROCESSES, os.cpu_count() or 1) if len(rows) >= PARALLEL_FROM else 1)
    workers = [_start(folder, part, parts) for part in range(1, parts)]
    try:
        built = _build_part(folder, manifest, rows, 0, parts)
        for worker in workers:
            built += _finish(worker, folder)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return built


def _build_part(
    folder: Path, manifest: dict[str, Any], rows: list[Row], part: int, parts: int
) -> list[Built]:
    view = viewer(folder, manifest, rows)
    pairs = zip(rows, _affordable(folder, rows), strict=True)
    return [
        _build_case(folder, view, row, with_pixels)
        for place, (row, with_pixels) in enumerate(pairs)
        if place % parts == part
    ]


def viewer(folder: Path, manifest: dict[str, Any], rows: list[Row]) -> View:
    """Return a function that makes the view of one of the run's rows, given what all of them share."""
    environment, diagnoses = flat_words(run_environment(manifest, rows)), read_diagnoses(folder, [])
    swept, compared = sweeps(rows), read_comparisons(folder, [])
    return lambda row, link, rerun_sha256: CaseView(
        row,
        pictures(folder, row, link),
        environment_changes(row, environment),
        rerun_sha256,
        diagnoses.get(row.case),
        sweep_slug(row.case) if row.case in swept else None,
        compared.get(row.case, ()),
    )


def _build_case(folder: Path, make_view: View, row: Row, with_pixels: bool) -> Built:
    media = make_media(folder, row)
    view = make_view(row, beside, media.rerun_sha256)
    pixels = _pixel_script(view.slug, media) if with_pixels else None
    page = linked_page("case", "rows.js", *([f"{view.slug}.js"] if pixels else []))
    name = f"{CASES}/{view.slug}"
    files: dict[str, str | bytes | None] = {
        f"{name}.html": render("case.html", case=view, page=page),
        f"{name}.js": pixels,
        f"{name}.webp": media.thumb,
    }
    output = Output(folder)
    for file, content in files.items():
        if content is not None:
            output.write(file, content)
    return Built(view.slug, f"{name}.webp" if media.thumb else None, sorted(output.written))


def _pixel_script(name: str, media: Media) -> str | None:
    if media.preview is None or media.rerun is None:
        return None
    pair = script_json({"preview": media.preview, "rerun": media.rerun})
    return f"(window.harness ??= {{}}).pixels = {{{script_json(name)}: {pair}}};\n"


def _affordable(folder: Path, rows: list[Row]) -> list[bool]:
    """Say for each row whether its pixels fit into the budget; a re-run encodes to its preview's size."""
    spent, fits = 0, []
    for row in rows:
        preview = folder / row.images.preview
        spent += preview.stat().st_size * 8 // 3 if row.images.rerun and preview.is_file() else 0
        fits.append(spent <= PIXEL_BUDGET)
    return fits


def _start(folder: Path, part: int, parts: int) -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", __name__, str(folder.absolute()), str(part), str(parts)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", env=environment)


def _finish(worker: subprocess.Popen[str], folder: Path) -> list[Built]:
    out, problem = worker.communicate()
    if worker.returncode != 0:
        last = (problem.strip().splitlines() or ["killed"])[-1]
        raise RunError(f"building its report failed ({last})", file=folder, fix="build the report again")
    return [Built(**each) for each in json.loads(out)]


def _work(folder: Path, part: int, parts: int) -> None:
    rows = sorted(read_rows(folder), key=worst_first)
    built = _build_part(folder, read_manifest(folder), rows, part, parts)
    print(json.dumps([asdict(each) for each in built]))


if __name__ == "__main__":
    try:
        _work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except (HarnessError, OSError) as error:
        sys.exit(str(error))
