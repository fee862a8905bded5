"""``harness report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="Run folder, e.g. reports/NAME.")]) -> None:
    """Build the HTML report of a saved run again, without loading a model."""
    from harness.report.build import build_report

    typer.echo(build_report(run))
