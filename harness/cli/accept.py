"""``harness accept``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Baselines, RunPath


def accept(
    run: RunPath,
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="CASE", help="Ids or globs of ids. Default: all.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why this is as it should be; kept in the file.")] = "",
    baselines: Baselines = Path("baselines"),
    by: Annotated[str | None, typer.Option(help="Who accepts. Default: the account's name.")] = None,
    new_only: Annotated[bool, typer.Option("--new-only", help="Leave baselines that exist.")] = False,
) -> None:
    """Accept results of a run as the baselines of their cases, on the kind of machine they were made on."""
    from harness.runs.accept import accept_run

    done = accept_run(run, cases or [], root=baselines, reason=reason, accepted_by=by, new_only=new_only)
    for path in done.written:
        typer.echo(f"accepted {path}")
    for case, why in done.passed_over.items():
        typer.echo(f"passed over {case}: {why}")
    typer.echo(f"{len(done.written)} accepted, {len(done.passed_over)} passed over")
