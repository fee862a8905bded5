"""``harness summary``."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import RunPath


def summary(
    run: RunPath,
    worst: Annotated[int, typer.Option(min=0, help="So many cases that are no match are listed.")] = 10,
    link: Annotated[str | None, typer.Option(metavar="URL", help="Where the report was uploaded.")] = None,
) -> None:
    """Print a run's counts and worst cases as Markdown, for the summary of a CI job."""
    from harness.report.job_summary import job_summary

    typer.echo(job_summary(run, worst=worst, link=link), nl=False)
