"""``harness watch``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness._util.real_paths import real_path
from harness.cli.command import NO_SERVE_GIVEN, TYPED, FiniteRange, command, option, output_folder, path, say
from harness.cli.options import RENDERING, run_options, tolerance
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.runs.plan import RunOptions

INTERRUPTED = 130


@command()
@click.argument("job_dir", metavar="JOB_DIR", type=path, help="Job folder that AI Toolkit is training into.")
@option("--cases", type=output_folder, help="Folder for the case files. Default: cases/<job name>.")
@option("--out", type=output_folder, help="Run folder. Default: reports/watch-<job name>.")
@option("--config", type=path, help="The job's config, YAML or JSON. Default: JOB_DIR's own.")
@option("--once", is_flag=True, help="Take what is finished now, then stop.")
@option(
    "--until-step", metavar="N", type=click.IntRange(min=0), help="Stop when step N has all its previews."
)
@option(
    "--idle", metavar="MINUTES", type=FiniteRange(min=0, min_open=True),
    help="Stop when no new preview came for so long. Default: go on until Ctrl-C.",
)  # fmt: skip
@tolerance
@run_options(*RENDERING)
def watch(
    job_dir: Path,
    cases: Path | None,
    out: Path | None,
    config: Path | None,
    once: bool,
    until_step: int | None,
    idle: float | None,
    options: RunOptions,
) -> None:
    """Re-run every new preview of a running training as it appears, and tell the first drift at once.

    A preview is taken when it and its checkpoint are written to the end; the checkpoint is copied, so that
    the trainer may prune it. The report grows. Repeating the command goes on with the same run.

    Exit code, also after Ctrl-C: 0 all match so far, 1 some drift or cannot be compared, or there is none,
    2 bad input, 3 a render failed.

    \b
    Example: harness watch output/my_lora --until-step 2000
    """
    from harness.importers.aitoolkit.config_file import find_config, load_config

    file = config or find_config(job_dir)
    load_config(file)  # a job of another model is refused now, not when its first preview is there
    name = real_path(job_dir).name
    cases, out = cases or Path("cases", name), out or Path("reports", f"watch-{name}")

    def here() -> int:
        return _round(job_dir, cases, out, config, options)

    if once:
        sys.exit(here())
    context = click.get_current_context()
    typed = None if context.meta[NO_SERVE_GIVEN] else [str(context.info_name), *context.meta[TYPED], "--once"]
    say(f"watching {job_dir}; Ctrl-C ends it, and {out} keeps the run")
    sys.exit(_watch(job_dir, file, out, partial(_anywhere, typed, here), until_step, idle))


def _watch(
    job_dir: Path,
    file: Path,
    out: Path,
    run_round: Callable[[], int],
    until_step: int | None,
    idle: float | None,
) -> int:
    """Watch until the end that was asked for or Ctrl-C, and return the exit code of the run so far."""
    from harness.runs.kept_renderer import keeping_renderer
    from harness.watching.watch import watch_job

    code = INTERRUPTED
    with suppress(KeyboardInterrupt), keeping_renderer():
        code = watch_job(
            job_dir, file, run_round, until_step=until_step, idle_seconds=60 * idle if idle else None
        )
    if code == HarnessError.exit_code or not out.is_dir():
        return code if code != INTERRUPTED else 1
    from harness.runs.results import load_run

    return load_run(out).exit_code


def _anywhere(typed: Sequence[str] | None, here: Callable[[], int]) -> int:
    """Run a round in the warm process, where there is one, else here; return its exit code."""
    from harness.warm.client import run_there

    ended = run_there(typed) if typed is not None else None
    if ended is not None:
        return INTERRUPTED if ended.interrupted else ended.code
    try:
        return here()
    except HarnessError as error:
        say(f"harness: {error}", err=True)
        return error.exit_code
    except SystemExit:  # Ctrl-C, and the progress bar has said what is saved
        return INTERRUPTED


def _round(job_dir: Path, cases: Path, out: Path, config: Path | None, options: RunOptions) -> int:
    """Run one round, bring the report up to date, and return the exit code of the run so far."""
    from harness._util.words import counts_in_words
    from harness.cli.progress import LiveProgress, count
    from harness.cli.show import say_left_out
    from harness.report.build import build_report
    from harness.schema.result import Verdict
    from harness.watching.first_drift import FirstDrift
    from harness.watching.watch_round import watch_round

    with LiveProgress() as shown:
        progress = FirstDrift(shown, out, cases)
        result = watch_round(job_dir, cases=cases, out=out, config=config, options=options, progress=progress)
    if result is None:
        return 1
    counts = counts_in_words(result.counts, Verdict)
    damaged: list[HarnessError] = []
    say(f"{count(len(result.rows))} so far: {counts}; report: {build_report(out, damaged=damaged)}")
    say_left_out(damaged)
    return result.exit_code
