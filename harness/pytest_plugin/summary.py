"""The last lines of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.runs.row import Verdict

if TYPE_CHECKING:
    from harness.pytest_plugin.session import Tally
    from harness.pytest_plugin.settings import Settings

MOST_NAMES = 10


def summary(tally: Tally, settings: Settings, results: Path) -> list[str]:
    """Return verdict counts, baselines that were written or have no case, and where the report lies."""
    lines = []
    if counts := ", ".join(
        f"{tally.verdicts[v.value]} {v.value}" for v in Verdict if tally.verdicts[v.value]
    ):
        lines.append(f"verdicts: {counts}")
    if tally.written:
        lines.append(f"baselines written: {_names(tally.written)}")
    if tally.orphans:
        lines.append(f"baselines without a case: {_names(tally.orphans)}")
    if tally.verdicts:
        lines.append(
            f"{'report' if settings.report else 'results'}: {results}{'/index.html' * settings.report}"
        )
    return lines


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(sorted(names)[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
