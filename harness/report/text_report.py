"""The report as text: Markdown for a pull request, a mail or a CI job, JSON for another program."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from harness._util.words import counts_in_words, some
from harness.judging.set_verdict import SetVerdict
from harness.report.formatting import markdown, number, slug
from harness.report.overview import Overview, headline, shown_variant, worst_first
from harness.runs.results import load_run
from harness.schema.result import Row, Verdict

MAX_LISTED = 50
"""Rows that the Markdown lists, worst first; matches are only counted."""


def summary_markdown(report: Overview, ordered: list[Row]) -> str:
    """Return counts and the worst rows as Markdown; text from outside cannot become markup."""
    lines = [
        f"# {markdown(report.name)}",
        "",
        markdown(report.summary),
        "",
        "| verdict | rows |",
        "|---|---:|",
    ]
    lines += [f"| {count.verdict} | {count.rows} |" for count in report.counts if count.rows]
    lines += ["", *(f"* {markdown(fact.name)}: {markdown(fact.value)}" for fact in report.facts)]
    if report.sets:
        lines += ["", *(f"* {set_line(found)}" for found in report.sets)]
    worst = [_line(row) for row in ordered if row.verdict != "match"]
    head = ("| verdict | case | SSIM | LPIPS | PSNR | reason |", "|---|---|---:|---:|---:|---|")
    lines += _table(head, worst, MAX_LISTED)
    return "\n".join(lines) + "\n"


def job_summary(run: str | os.PathLike[str], *, worst: int = 10, link: str | None = None) -> str:
    """Return counts and the worst cases as Markdown, for the summary of a CI job.

    Args:
        run: a run folder.
        worst: how many cases other than matches to list: new ones first, then accepted ones,
            then variants of a sweep.
        link: where the report was uploaded; each case names its page and thumbnail inside it.

    Raises:
        RunError: not a run folder.
    """
    run = Path(run)
    result = load_run(run)
    lines = [f"## {markdown(run.name)}: {counts_in_words(result.counts, Verdict) or 'no results'}"]
    if link:
        lines += ["", f"[Report, images and rows]({link})"]
    if sets := [set_line(found) for found in result.drifting_sets]:
        lines += ["", *(f"{line[0].upper()}{line[1:]}." for line in sets)]
    if changed := [markdown(row.case) for row in result.rows if row.changed]:
        lines += ["", f"Changed within limits: {some(changed, worst)}."]
    listed = sorted((row for row in result.rows if row.verdict is not Verdict.MATCH), key=_news_first)
    head = ("| verdict | case | SSIM | LPIPS | page | thumbnail | reason |", "|---|---|--:|--:|---|---|---|")
    lines += _table(head, [_job_line(row, link) for row in listed], worst)
    return "\n".join(lines) + "\n"


def summary_json(report: Overview, ordered: list[Row]) -> str:
    """Return the run's counts and one object per row as JSON."""
    data = {
        "run": report.name,
        "summary": report.summary,
        "facts": {fact.name: fact.value for fact in report.facts},
        "counts": {count.verdict: count.rows for count in report.counts},
        "sets": [_set_object(found) for found in report.sets],
        "rows": [_object(row) for row in ordered],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def set_line(found: SetVerdict) -> str:
    """Return the verdict of a job as a whole as Markdown."""
    return f"{'drift' if found.drifts else 'match'} of {markdown(found.job)} as a whole: {found.reason}"


def _set_object(found: SetVerdict) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "verdict": "drift" if found.drifts else "match"}


def _table(head: tuple[str, str], lines: list[str], limit: int) -> list[str]:
    """Return the first lines below their head, and how many more there are; nothing without a line."""
    more = ["", f"{len(lines) - limit} more are in the report."] if len(lines) > limit else []
    return ["", *head, *lines[:limit], *more] if lines else []


def _object(row: Row) -> dict[str, Any]:
    return {
        **row.model_dump(
            mode="json", include={"case", "variant", "verdict", "reason", "ssim", "lpips", "psnr"}
        ),
        "identical": row.pixels is not None and row.pixels.identical,
        "page": f"cases/{slug(row.case, row.variant)}.html",
    }


def _line(row: Row) -> str:
    scores = " | ".join(fact.value for fact in headline(row))
    return f"| {row.verdict} | {markdown(_name(row))} | {scores} | {markdown(row.reason)} |"


def _name(row: Row) -> str:
    variant = shown_variant(row)
    return f"{row.case} ({variant})" if variant else row.case


def _news_first(row: Row) -> tuple[bool, bool, tuple[int, float, str, str]]:
    return shown_variant(row) is not None, row.known, worst_first(row)


def _job_line(row: Row, link: str | None) -> str:
    page = f"cases/{slug(row.case, row.variant)}"
    files = [f"[{name}]({link})" if link else name for name in (f"{page}.html", f"{page}.webp")]
    verdict = f"{row.verdict} (accepted)" if row.known else row.verdict
    cells = [verdict, _name(row), number(row.ssim, 4), number(row.lpips, 4)]
    return f"| {' | '.join([*map(markdown, cells), *files, markdown(row.reason)])} |"
