"""``harness report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[list[Path], typer.Argument(help="Run folders, e.g. reports/NAME.")],
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One file that holds everything, to be mailed.")
    ] = False,
) -> None:
    """Build the HTML report of saved runs again, without loading a model."""
    from harness.report.build import build_report

    for folder in run:
        typer.echo(build_report(folder, single_file=single_file))
