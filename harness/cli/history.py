"""``harness history``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import refuse_some
from harness.cli.command import command, option, path, say
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.history.timeline import Series


@command()
@click.argument(
    "case", metavar="[CASE]", required=False, help="One case's id; its scores are printed run by run."
)
@option(
    "--runs", type=path, default="reports", envvar="HARNESS_REPORTS",
    help="Folder that holds the run folders.",
)  # fmt: skip
def history(case: str | None, runs: Path) -> None:
    """Show scores over many runs: where they stepped to a new level, and where they only flicker.

    Exit code: 0 shown, 2 bad input; a run that cannot be read is named, and the others are shown.
    """
    from harness.history.timeline import read_history

    damaged: list[HarnessError] = []
    try:
        _show(read_history(runs, case, damaged=damaged), each_run=case is not None)
    except HarnessError as error:
        damaged.append(error)
    refuse_some(damaged)


def _show(found: list[Series], *, each_run: bool) -> None:
    for series in found:
        findings = series.findings()
        if not each_run and not findings:
            continue
        say(f"{series.case} on {series.environment}, {len(series.observations)} runs")
        if each_run:
            for observation in series.observations:
                ssim = "–" if observation.row.ssim is None else f"{observation.row.ssim:.4f}"
                say(f"  {observation.created[:16]}  {ssim}  {observation.row.verdict:12}  {observation.run}")
        for line in findings or ["holds its level"]:
            say(f"  {line}")
    if not each_run:
        moved = sum(bool(series.findings()) for series in found)
        say(f"{len(found)} series, {moved} with a finding")
