"""``harness report``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import refuse_some
from harness.cli.command import command, option, path, say
from harness.errors import HarnessError, RunError


@command()
@click.argument("run", metavar="[RUN]...", nargs=-1, type=path, help="Run folders, e.g. reports/NAME.")
@option("--single-file", is_flag=True, help="One file that holds everything, to be mailed.")
@option("--history", is_flag=True, help="Instead: the page over all runs in one folder (default: reports).")
def report(run: tuple[Path, ...], single_file: bool, history: bool) -> None:
    """Build the HTML report of saved runs again, without loading a model.

    Exit code: 0 built, 2 bad input; a run, diagnosis or comparison that cannot be read is named, and all
    else is built.
    """
    from harness.report.build import build_report
    from harness.report.history_page import build_history

    if not run and not history:
        raise RunError("no run folder is named", field="RUN", fix="name one, or ask for --history")
    refused: list[HarnessError] = []
    for folder in run or (Path("reports"),):
        try:
            if history:
                say(build_history(folder, damaged=refused))
            else:
                say(build_report(folder, single_file=single_file, damaged=refused))
        except HarnessError as error:
            refused.append(error)
    refuse_some(refused)
