"""Build the HTML report of a run folder, from its files alone: no model, no server, no network.

index.html        counts and one line per row, worst first
cases/*.html      one page per row, with *.webp its thumbnail and *.js its pixels
cases/rows.js     what filters search
assets/           style and scripts
summary.md|json   the same counts and lines as text
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from harness._util.atomic_files import disk_errors_as
from harness.errors import HarnessError, RunError
from harness.report.case_pages import CASES, build_cases, viewer
from harness.report.comparisons import read_comparisons
from harness.report.diagnoses import FOLDER, read_diagnoses
from harness.report.formatting import script_json, slug
from harness.report.media import data_address, file_address, make_media, reduced
from harness.report.overview import columns, overview, worst_first
from harness.report.page import ASSETS, Link, Page, inlined_page, linked_page, render
from harness.report.pictures import beside
from harness.report.report_files import Output
from harness.report.sweep_page import sweep_slug, sweep_view, sweeps
from harness.report.text_report import summary_json, summary_markdown
from harness.runs.folder import refuse_links
from harness.runs.run_files import RESULTS, read_manifest, read_rows
from harness.schema.result import Row

INDEX, SINGLE = "index.html", "report.html"


def build_report(
    folder: str | os.PathLike[str],
    *,
    single_file: bool = False,
    jobs: int | None = None,
    damaged: list[HarnessError] | None = None,
) -> Path:
    """Write the report of a run; it opens from the disk, without a server or a network.

    The same run folder always gives the same bytes; files that would not change are not touched.

    Args:
        folder: a run folder with ``run.json`` and ``results.jsonl``.
        single_file: write one file, ``report.html``, that holds everything, to be mailed.
        jobs: processes that build pages; None: as many as there are cores, for large runs.
        damaged: takes what is wrong with each saved diagnosis or comparison that cannot be read; the report
            names them, and shows the rest. None raises the first one.

    Returns:
        The path of the page to open.

    Raises:
        RunError: not a run folder, a row, diagnosis or comparison that cannot be read, or a folder that
            cannot be written.
    """
    folder = Path(folder)
    refuse_links(folder)
    manifest, rows = read_manifest(folder), sorted(read_rows(folder), key=worst_first)
    left_out = _unreadable_answers(folder)
    if left_out and damaged is None:
        raise left_out[0]
    (damaged if damaged is not None else []).extend(left_out)
    fix = f"fix that, then run harness report {folder}"
    with disk_errors_as(RunError, "the report cannot be written", file=folder, fix=fix):
        if single_file:
            return _write_single(folder, manifest, rows, left_out)
        return _write_folder(folder, manifest, rows, left_out, jobs)


def _unreadable_answers(folder: Path) -> list[HarnessError]:
    """Return what is wrong with each saved diagnosis and comparison that cannot be read."""
    found: list[HarnessError] = []
    read_diagnoses(folder, found)
    read_comparisons(folder, found)
    return found


def _write_folder(
    folder: Path, manifest: dict[str, Any], rows: list[Row], left_out: list[HarnessError], jobs: int | None
) -> Path:
    output, report = Output(folder), overview(folder, manifest, rows)
    thumbs: dict[str, str | None] = {}
    for built in build_cases(folder, manifest, rows, jobs):
        output.written.update(built.files)
        thumbs[built.slug] = built.thumb
    swept = sweeps(rows)
    for group in swept.values():
        view = sweep_view(folder, group, beside)
        output.write(f"{CASES}/{view.slug}.html", render("sweep.html", sweep=view, page=linked_page("sweep")))
    for saved in read_diagnoses(folder, []).values():
        if saved.path:
            html = render("diagnosis.html", saved=saved, folder=FOLDER, page=linked_page("diagnosis"))
            output.write(f"{CASES}/{slug(saved.case)}~diagnosis.html", html)
    for asset in sorted(ASSETS.iterdir()):
        output.write(f"assets/{asset.name}", asset.read_bytes())
    output.write(f"{CASES}/rows.js", _rows_script(report.name, manifest, rows))
    output.write("summary.md", summary_markdown(report, rows))
    output.write("summary.json", summary_json(report, rows))
    output.remove_others(CASES, "assets")
    links = [Link("summary.md", "Markdown"), Link("summary.json", "JSON")]
    links += [Link(RESULTS, "All rows")] if rows else []
    more = {"thumbs": thumbs, "links": tuple(links), "left_out": _lines(folder, left_out)}
    page = linked_page("overview", f"{CASES}/rows.js", **more)
    index = render("index.html", report=report, rows=rows, page=page, sweeps=_sweep_links(page, swept))
    return output.write(INDEX, index)


def _write_single(
    folder: Path, manifest: dict[str, Any], rows: list[Row], left_out: list[HarnessError]
) -> Path:
    report = overview(folder, manifest, rows)
    view = viewer(folder, manifest, rows)
    thumbs, views = {}, []
    for row in rows:
        media = make_media(folder, row)
        link = partial(_inline, folder, {row.images.rerun: media.rerun, row.images.preview: media.preview})
        views.append(view(row, link, media.rerun_sha256))
        thumbs[views[-1].slug] = data_address("image/webp", media.thumb) if media.thumb else None
    script, lines = _rows_script(report.name, manifest, rows), _lines(folder, left_out)
    page = inlined_page("single", script, thumbs=thumbs, left_out=lines)
    swept = sweeps(rows)
    sheets = [sweep_view(folder, group, lambda path: reduced(folder / path)) for group in swept.values()]
    links = _sweep_links(page, swept)
    html = render(
        "single.html", report=report, rows=rows, page=page, cases=views, sweeps=links, sheets=sheets
    )
    return Output(folder).write(SINGLE, html)


def _lines(folder: Path, left_out: list[HarnessError]) -> tuple[str, ...]:
    """Say in a line each what the report leaves out, as it is named inside the run folder."""
    return tuple(str(each).removeprefix(f"{folder}/") for each in left_out)


def _sweep_links(page: Page, swept: Iterable[str]) -> tuple[Link, ...]:
    return tuple(Link(page.to_case(sweep_slug(case)), case) for case in swept)


def _rows_script(name: str, manifest: dict[str, Any], rows: list[Row]) -> str:
    return f"(window.harness ??= {{}}).rows = {script_json(columns(name, manifest, rows))};\n"


def _inline(folder: Path, made: dict[str | None, str | None], path: str) -> str:
    """Return an image as a ``data:`` address: what was made of it, else the file itself."""
    return made.get(path) or file_address(folder / path)
