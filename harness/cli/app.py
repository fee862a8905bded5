"""The typer application and its commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from harness._util.signals import deliver_interrupts
from harness.cli import (
    accept,
    apply_review,
    bundle,
    calibrate,
    demo,
    diagnose,
    doctor,
    fix,
    history,
    import_,
    interrupted,
    report,
    rescore,
    run,
    schema,
    summary,
    sweep,
)


class Commands(TyperGroup):
    """The commands; typer alone ends without a word where Ctrl-C comes."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the command line."""
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt:
            interrupted()

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and say so where Ctrl-C ended it and it did not itself."""
        try:
            with deliver_interrupts():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            interrupted()


app = typer.Typer(
    cls=Commands,
    name="harness",
    help="Re-render AI Toolkit's Flex.2 previews through the reference pipeline and measure the drift.\n\n"
    "Begin with harness demo; then harness import JOB_DIR and harness run CASES.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Start": {
        "demo": demo.demo,
        "doctor": doctor.doctor,
        "import": import_.import_,
        "run": run.run,
        "schema": schema.schema,
    },
    "Explain a drift": {
        "diagnose": diagnose.diagnose,
        "fix": fix.fix,
        "sweep": sweep.sweep,
    },
    "Saved runs": {
        "report": report.report,
        "rescore": rescore.rescore,
        "summary": summary.summary,
        "bundle": bundle.bundle,
    },
    "Keep watch": {
        "accept": accept.accept,
        "apply-review": apply_review.apply_review,
        "calibrate": calibrate.calibrate,
        "history": history.history,
    },
}

for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
