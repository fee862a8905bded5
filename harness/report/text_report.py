"""The report as text: Markdown for a pull request or a mail, JSON for another program."""

from __future__ import annotations

import json
import re
from typing import Any

from harness.report.formatting import slug
from harness.report.overview import Overview, headline, shown_variant
from harness.schema.result import Row

LISTED = 50
"""Rows that the Markdown lists, worst first; matches are only counted."""


def summary_markdown(report: Overview, ordered: list[Row]) -> str:
    """Return counts and the worst rows as Markdown; text from outside cannot become markup."""
    lines = [f"# {_plain(report.name)}", "", _plain(report.summary), "", "| verdict | rows |", "|---|---:|"]
    lines += [f"| {count.verdict} | {count.rows} |" for count in report.counts if count.rows]
    lines += ["", *(f"* {_plain(fact.name)}: {_plain(fact.value)}" for fact in report.facts)]
    worst = [row for row in ordered if row.verdict != "match"]
    if worst:
        lines += ["", "| verdict | case | SSIM | LPIPS | PSNR | reason |", "|---|---|---:|---:|---:|---|"]
        lines += [_line(row) for row in worst[:LISTED]]
    if len(worst) > LISTED:
        lines += ["", f"{len(worst) - LISTED} more are in the report."]
    return "\n".join(lines) + "\n"


def summary_json(report: Overview, ordered: list[Row]) -> str:
    """Return the run's counts and one object per row as JSON."""
    data = {
        "run": report.name,
        "summary": report.summary,
        "facts": {fact.name: fact.value for fact in report.facts},
        "counts": {count.verdict: count.rows for count in report.counts},
        "rows": [_object(row) for row in ordered],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


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
    name = f"{_plain(row.case)} ({_plain(variant)})" if variant else _plain(row.case)
    scores = " | ".join(fact.value for fact in headline(row))
    return f"| {row.verdict} | {name} | {scores} | {_plain(row.reason)} |"


def _plain(text: str) -> str:
    """Return text on one line with every character that Markdown or HTML could act on escaped."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&!@])", r"\\\1", line)
