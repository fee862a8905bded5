"""The report as text: Markdown for a pull request or a mail, JSON for another program."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from harness.judging.set_verdict import SetVerdict
from harness.report.formatting import markdown, slug
from harness.report.overview import Overview, headline, shown_variant
from harness.schema.result import Row

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
    worst = [row for row in ordered if row.verdict != "match"]
    if worst:
        lines += ["", "| verdict | case | SSIM | LPIPS | PSNR | reason |", "|---|---|---:|---:|---:|---|"]
        lines += [_line(row) for row in worst[:MAX_LISTED]]
    if len(worst) > MAX_LISTED:
        lines += ["", f"{len(worst) - MAX_LISTED} more are in the report."]
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


def _object(row: Row) -> dict[str, Any]:
    return {
        "case": row.case,
        "variant": row.variant,
        "verdict": str(row.verdict),
        "reason": row.reason,
        "ssim": row.ssim,
        "lpips": row.lpips,
        "psnr": row.psnr,
        "identical": row.pixels is not None and row.pixels.identical,
        "page": f"cases/{slug(row.case, row.variant)}.html",
    }


def _line(row: Row) -> str:
    variant = shown_variant(row)
    name = f"{markdown(row.case)} ({markdown(variant)})" if variant else markdown(row.case)
    scores = " | ".join(fact.value for fact in headline(row))
    return f"| {row.verdict} | {name} | {scores} | {markdown(row.reason)} |"
