"""The typer application and its commands."""

from __future__ import annotations

import typer

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
    report,
    rescore,
    run,
    schema,
    summary,
    sweep,
)

app = typer.Typer(
    name="harness",
    help="Re-render AI Toolkit's Flex.2 previews through the reference pipeline and measure the drift.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("import")(import_.import_)
app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("diagnose")(diagnose.diagnose)
app.command("fix")(fix.fix)
app.command("rescore")(rescore.rescore)
app.command("report")(report.report)
app.command("accept")(accept.accept)
app.command("calibrate")(calibrate.calibrate)
app.command("history")(history.history)
app.command("summary")(summary.summary)
app.command("apply-review")(apply_review.apply_review)
app.command("bundle")(bundle.bundle)
app.command("schema")(schema.schema)
