"""A run in a few lines of Markdown, for the summary of a CI job."""

from __future__ import annotations

from pathlib import Path

from harness.report.formatting import markdown, number, slug
from harness.report.overview import worst_first
from harness.report.text_report import set_line
from harness.runs.results import load_run
from harness.schema.result import REFERENCE, Row, Verdict

HEAD = "| verdict | case | SSIM | LPIPS | page | thumbnail | reason |"


def job_summary(run: Path, *, worst: int = 10, link: str | None = None) -> str:
    """Return counts and the worst cases as Markdown.

    Args:
        run: a run folder.
        worst: how many cases other than matches to list: new ones first, then accepted ones,
            then variants of a sweep.
        link: where the report was uploaded; each case names its page and thumbnail inside it.

    Raises:
        RunError: not a run folder.
    """
    result = load_run(run)
    counts = ", ".join(f"{result.counts[verdict]} {verdict}" for verdict in Verdict if result.counts[verdict])
    lines = [f"## {markdown(run.name)}: {counts or 'no results'}"]
    if link:
        lines += ["", f"[Report, images and rows]({link})"]
    if sets := [set_line(found) for found in result.drifting_sets]:
        lines += ["", *(f"{line[0].upper()}{line[1:]}." for line in sets)]
    if changed := [markdown(row.case) for row in result.rows if row.changed]:
        more = f" and {len(changed) - worst} more" if len(changed) > worst else ""
        lines += ["", f"Changed within limits: {', '.join(changed[:worst])}{more}."]
    listed = sorted((row for row in result.rows if row.verdict is not Verdict.MATCH), key=_news_first)
    if listed:
        lines += ["", HEAD, "|---|---|--:|--:|---|---|---|"]
        lines += [_line(row, link) for row in listed[:worst]]
    if len(listed) > worst:
        lines += ["", f"{len(listed) - worst} more are in the report."]
    return "\n".join(lines) + "\n"


def _news_first(row: Row) -> tuple[bool, bool, tuple[int, float, str, str]]:
    return row.variant != REFERENCE, row.known, worst_first(row)


def _line(row: Row, link: str | None) -> str:
    page = f"cases/{slug(row.case, row.variant)}"
    files = [f"[{name}]({link})" if link else name for name in (f"{page}.html", f"{page}.webp")]
    verdict = f"{row.verdict} (accepted)" if row.known else row.verdict
    case = row.case if row.variant == REFERENCE else f"{row.case} ({row.variant})"
    cells = [verdict, case, number(row.ssim, 4), number(row.lpips, 4)]
    return f"| {' | '.join([*map(markdown, cells), *files, markdown(row.reason)])} |"
