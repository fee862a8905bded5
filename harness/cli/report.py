"""``harness report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Run folders, e.g. reports/NAME.")
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One file that holds everything, to be mailed.")
    ] = False,
    history: Annotated[
        bool,
        typer.Option("--history", help="Instead: the page over all runs in one folder (default: reports)."),
    ] = False,
) -> None:
    """Build the HTML report of saved runs again, without loading a model."""
    from harness.errors import RunError

    if history:
        from harness.report.history_page import build_history

        for root in run or [Path("reports")]:
            typer.echo(build_history(root))
        return
    if not run:
        raise RunError("no run folder is named", field="RUN", fix="name one, or ask for --history")
    from harness.report.build import build_report

    for folder in run:
        typer.echo(build_report(folder, single_file=single_file))
