"""``harness history``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.command import command, option, path


@command()
@click.argument(
    "case", metavar="[CASE]", required=False, help="One case's id; its scores are printed run by run."
)
@option(
    "--runs", type=path, default="reports", envvar="HARNESS_REPORTS",
    help="Folder that holds the run folders.",
)  # fmt: skip
def history(case: str | None, runs: Path) -> None:
    """Show scores over many runs: where they stepped to a new level, and where they only flicker."""
    from harness.history.timeline import read_history

    found = read_history(runs, case)
    for series in found:
        findings = series.findings()
        if case is None and not findings:
            continue
        click.echo(f"{series.case} on {series.environment}, {len(series.observations)} runs")
        if case is not None:
            for observation in series.observations:
                ssim = "–" if observation.row.ssim is None else f"{observation.row.ssim:.4f}"
                click.echo(
                    f"  {observation.created[:16]}  {ssim}  {observation.row.verdict:12}  {observation.run}"
                )
        for line in findings or ["holds its level"]:
            click.echo(f"  {line}")
    if case is None:
        moved = sum(bool(series.findings()) for series in found)
        click.echo(f"{len(found)} series, {moved} with a finding")
