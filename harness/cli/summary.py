"""``harness summary``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.command import command, option, say
from harness.cli.options import RUN


@command()
@RUN
@option(
    "--worst",
    metavar="N",
    type=click.IntRange(min=0),
    default=10,
    help="List so many cases that do not match.",
)
@option("--link", metavar="URL", help="Where the report was uploaded.")
def summary(run: Path, worst: int, link: str | None) -> None:
    """Print a run's counts and worst cases as Markdown, for the summary of a CI job."""
    from harness.report.text_report import job_summary

    say(job_summary(run, worst=worst, link=link).removesuffix("\n"))
