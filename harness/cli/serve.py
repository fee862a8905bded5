"""``harness serve``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from harness.cli.command import FiniteRange, command, option, say


@command()
@option(
    "--idle", metavar="MINUTES", type=FiniteRange(min=0, min_open=True), default=30,
    help="End after so long without a command.",
)  # fmt: skip
@option("--status", is_flag=True, help="Say what the warm process holds and does, then stop.")
@option("--stop", is_flag=True, help="End the warm process after the command that it runs.")
def serve(idle: float, status: bool, stop: bool) -> None:
    """Keep the base, compiled code and libraries loaded, and run the commands of other terminals at once.

    run, sweep, diagnose, compare, fix, calibrate and watch are then run by this process, in the folder
    and on the terminal where they are typed, one after the other, with the same rows and bits.
    Where sources, packages or variables of libraries differ, a command says so and runs by itself.
    Only you can reach it: it listens at a local socket in a folder of yours, never at a port.

    Exit code: 0 it ended, or is there; 1 --status or --stop found none; 2 another one runs.
    """
    if status or stop:
        _ask("stop" if stop else "status")
        return
    from harness._util.lean_imports import share_process
    from harness.runs.kept_renderer import keeping_renderer
    from harness.warm.server import Server

    share_process()

    def begin() -> None:
        say(f"warm process {os.getpid()}: harness serve --stop, Ctrl-C or {idle:g} idle minutes end it")
        _import_libraries()

    with keeping_renderer() as kept:
        why = Server(_execute, kept.holds, lambda: kept.lost, 60 * idle, say).run(begin)
    say(f"ended: {why}")
    raise SystemExit(0)


def _execute(arguments: Sequence[str]) -> None:
    from harness.cli import run_command
    from harness.cli.logs import log_nowhere

    os.environ["HARNESS_NO_SERVE"] = "1"
    try:
        run_command(arguments)
    finally:
        log_nowhere()


def _import_libraries() -> None:
    """Import what renders and scores, and what builds a report."""
    from harness._util.garbage_collector import pause_collection

    with pause_collection():
        import harness.metrics.lpips_network
        import harness.metrics.score_pair
        import harness.pipeline.renderer
        import harness.report.build  # noqa: F401


def _ask(want: str) -> None:
    from harness.warm.client import ask

    answer = ask(want)
    if answer is None:
        say("no warm process runs")
        raise SystemExit(1)
    for line in _lines(answer):
        say(line)
    if want == "stop":
        say("it ends after the command that it runs" if answer["running"] else "it ends")


def _lines(answer: dict[str, Any]) -> list[str]:
    """Return what a warm process says of itself."""
    left = (answer["ends_after_seconds"] - answer["idle_seconds"]) / 60
    runs = f"runs {answer['running']}" if answer["running"] else f"idle, ends in {max(0.0, left):.0f} min"
    waiting = f", {answer['waiting']} waiting" if answer["waiting"] else ""
    return [
        f"warm process {answer['pid']}: {runs}{waiting}; {answer['served']} commands so far",
        *(f"holds {line}" for line in answer["holds"] or ["no base yet: the first command loads its own"]),
    ]
