"""``harness accept``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.command import command, option, say
from harness.cli.options import BASELINES, RUN


@command()
@RUN
@click.argument("cases", metavar="[CASE]...", nargs=-1, help="Ids or globs of ids. Default: all.")
@option("--reason", default="", show_default=False, help="Why this is as it should be; kept in the file.")
@BASELINES
@option("--by", help="Who accepts. Default: the account's name.")
@option("--new-only", is_flag=True, help="Leave baselines that exist.")
@option("--also", is_flag=True, help="Accept beside the results accepted before, as another valid one.")
def accept(
    run: Path,
    cases: tuple[str, ...],
    reason: str,
    baselines: Path,
    by: str | None,
    new_only: bool,
    also: bool,
) -> None:
    """Accept results of a run as the baselines of their cases, on the kind of machine they were made on."""
    from harness.runs.accept import accept_run

    done = accept_run(
        run, list(cases), root=baselines, reason=reason, accepted_by=by, new_only=new_only, also=also
    )
    for path in done.written:
        say(f"accepted {path}")
    for case, why in done.passed_over.items():
        say(f"passed over {case}: {why}")
    say(f"{len(done.written)} accepted, {len(done.passed_over)} passed over")
