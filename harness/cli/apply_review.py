"""``harness apply-review``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Baselines


def apply_review(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A review that was exported from a report.")],
    run: Annotated[
        Path | None, typer.Option(help="The run that was reviewed. Default: reports/<its name>.")
    ] = None,
    baselines: Baselines = Path("baselines"),
    by: Annotated[str | None, typer.Option(help="Who reviewed. Default: as the file says.")] = None,
) -> None:
    """Write what a review accepts as baselines; nothing where any row or image moved since the review."""
    from harness.report.review import apply_review as apply

    done = apply(file, run=run, root=baselines, reviewer=by)
    for path in done.written:
        typer.echo(f"accepted {path}")
    for case in done.rejected:
        typer.echo(f"rejected {case}")
    typer.echo(f"{len(done.written)} accepted, {len(done.rejected)} rejected, {len(done.noted)} only noted")
