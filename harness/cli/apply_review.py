"""``harness apply-review``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import command as shared
from harness.cli.options import BASELINES


@shared.command()
@click.argument("file", metavar="FILE", type=shared.path, help="A review that was exported from a report.")
@shared.option("--run", type=shared.path, help="The run that was reviewed. Default: reports/<its name>.")
@BASELINES
@shared.option("--by", help="Who reviewed. Default: as the file says.")
def apply_review(file: Path, run: Path | None, baselines: Path, by: str | None) -> None:
    """Write what a review accepts as baselines; nothing where any row or image moved since the review."""
    from harness.report.review import apply_review as apply

    done = apply(file, run=run, root=baselines, reviewer=by)
    for path in done.written:
        shared.say(f"accepted {path}")
    for case in done.rejected:
        shared.say(f"rejected {case}")
    shared.say(f"{len(done.written)} accepted, {len(done.rejected)} rejected, {len(done.noted)} only noted")
