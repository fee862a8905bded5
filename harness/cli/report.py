"""``harness report``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.command import command, option, path


@command()
@click.argument("run", metavar="[RUN]...", nargs=-1, type=path, help="Run folders, e.g. reports/NAME.")
@option("--single-file", is_flag=True, help="One file that holds everything, to be mailed.")
@option("--history", is_flag=True, help="Instead: the page over all runs in one folder (default: reports).")
def report(run: tuple[Path, ...], single_file: bool, history: bool) -> None:
    """Build the HTML report of saved runs again, without loading a model."""
    from harness.errors import RunError

    if history:
        from harness.report.history_page import build_history

        for root in run or (Path("reports"),):
            click.echo(build_history(root))
        return
    if not run:
        raise RunError("no run folder is named", field="RUN", fix="name one, or ask for --history")
    from harness.report.build import build_report

    for folder in run:
        click.echo(build_report(folder, single_file=single_file))
