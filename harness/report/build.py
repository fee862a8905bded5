"""Build the HTML report of a run folder, from what lies in the folder: no model, no server, no network.

index.html        counts and one line per row, worst first
cases/*.html      one page per row, with *.webp its thumbnail and *.js its pixels
cases/rows.js     what filters search
assets/           style and scripts
summary.md|json   the same counts and lines as text
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.report.comparison import flat
from harness.report.media import Media, data_address, make_media
from harness.report.overview import columns, overview, run_environment, worst_first
from harness.report.page import ASSETS, Link, case_page, overview_page, render, single_page
from harness.report.pictures import beside
from harness.report.summary import summary_json, summary_markdown
from harness.report.view import case_view
from harness.report.words import script_json
from harness.report.writing import Output
from harness.runs.row import Row
from harness.runs.store import read_manifest, read_rows

INDEX, SINGLE = "index.html", "report.html"
CASES = "cases"

PIXEL_BUDGET = 256 * 1024 * 1024
"""About so many bytes of pixel scripts a report writes, worst rows first; later pages cannot read pixels."""

PARALLEL_FROM = 200
"""Rows from which pages are built by several processes."""


@dataclass(frozen=True)
class Built:
    """One row's page: its name, its thumbnail's address, and every file that was written for it."""

    slug: str
    thumb: str | None
    files: frozenset[Path]


def build_report(folder: Path, *, single_file: bool = False, jobs: int | None = None) -> Path:
    """Write the report of a run; it opens from the disk, without a server or a network.

    The same run folder always gives the same bytes; files that would not change are not touched.

    Args:
        folder: a run folder with ``run.json`` and ``results.jsonl``.
        single_file: write one file, ``report.html``, that holds everything, to be mailed.
        jobs: processes that build pages; None: as many as there are cores, for large runs.

    Returns:
        The path of the page to open.

    Raises:
        RunError: not a run folder, a row that cannot be read, or a folder that cannot be written.
    """
    manifest, rows = read_manifest(folder), sorted(read_rows(folder), key=worst_first)
    try:
        if single_file:
            return _write_single(folder, manifest, rows)
        return _write_folder(folder, manifest, rows, jobs)
    except OSError as error:
        raise RunError(
            f"the report cannot be written ({error.strerror or error})",
            file=folder,
            fix="make the run folder writable",
        ) from error


def _write_folder(folder: Path, manifest: dict[str, Any], rows: list[Row], jobs: int | None) -> Path:
    output, report = Output(folder), overview(folder, manifest, rows)
    thumbs: dict[str, str | None] = {}
    for built in _build_cases(folder, manifest, rows, jobs):
        output.written |= built.files
        thumbs[built.slug] = built.thumb
    for asset in sorted(ASSETS.iterdir()):
        output.write(f"assets/{asset.name}", asset.read_bytes())
    output.write(f"{CASES}/rows.js", _rows_script(report.name, manifest, rows))
    output.write("summary.md", summary_markdown(report, rows))
    output.write("summary.json", summary_json(report, rows))
    output.remove_others(CASES, "assets")
    links = (Link("summary.md", "Markdown"), Link("summary.json", "JSON"), Link("results.jsonl", "All rows"))
    index = render("index.html", report=report, page=overview_page(thumbs, links))
    return output.write(INDEX, index)


def _write_single(folder: Path, manifest: dict[str, Any], rows: list[Row]) -> Path:
    report = overview(folder, manifest, rows)
    environment = flat(run_environment(manifest, rows))
    thumbs, views = {}, []
    for row in rows:
        media = make_media(folder, row)
        link = partial(_inline, folder, {row.images.rerun: media.rerun, row.images.preview: media.preview})
        views.append(case_view(folder, row, environment, link, media.rerun_sha256))
        thumbs[views[-1].slug] = data_address("image/webp", media.thumb) if media.thumb else None
    page = single_page(thumbs, _rows_script(report.name, manifest, rows))
    return Output(folder).write(SINGLE, render("single.html", report=report, page=page, cases=views))


def _build_cases(
    folder: Path, manifest: dict[str, Any], rows: list[Row], jobs: int | None
) -> Iterator[Built]:
    build = partial(_build_case, folder, flat(run_environment(manifest, rows)))
    if jobs == 1 or (jobs is None and len(rows) < PARALLEL_FROM):
        yield from map(build, rows, _affordable(folder, rows))
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(build, rows, _affordable(folder, rows), chunksize=32)


def _build_case(folder: Path, environment: dict[str, str], row: Row, with_pixels: bool) -> Built:
    media = make_media(folder, row)
    view = case_view(folder, row, environment, beside, media.rerun_sha256)
    pixels = _pixel_script(view.slug, media) if with_pixels else None
    page = case_page(view.slug, has_pixels=pixels is not None)
    output, name = Output(folder), f"{CASES}/{view.slug}"
    output.write(f"{name}.html", render("case.html", case=view, page=page))
    if pixels is not None:
        output.write(f"{name}.js", pixels)
    if media.thumb is not None:
        output.write(f"{name}.webp", media.thumb)
    return Built(view.slug, f"{name}.webp" if media.thumb is not None else None, frozenset(output.written))


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


def _rows_script(name: str, manifest: dict[str, Any], rows: list[Row]) -> str:
    return f"(window.harness ??= {{}}).rows = {script_json(columns(name, manifest, rows))};\n"


def _inline(folder: Path, made: dict[str | None, str | None], path: str) -> str:
    """Return an image as a ``data:`` address: what was made of it, else the file itself."""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return made.get(path) or data_address(kind, (folder / path).read_bytes())
