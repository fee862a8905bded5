"""Where a run goes, and what commands print at its end: counts, warnings and the path of the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

from harness._util.words import counts_in_words
from harness.cli import interrupted
from harness.cli.command import say
from harness.cli.progress import LiveProgress, count
from harness.errors import CopyError, HarnessError
from harness.judging.drift_origin import by_origin, origins_in_words
from harness.judging.nearest import describe
from harness.runs.new_folder import fresh_folder
from harness.runs.results import RunResult, load_run
from harness.schema.result import Verdict


def run_folder(named: Path | None, prefix: str = "") -> AbstractContextManager[Path]:
    """Return the run folder that the user named, or a new one in ``reports/`` of this time."""
    return nullcontext(named) if named else fresh_folder(Path("reports"), prefix)


def rendered(out: Path | None, prefix: str, render: Callable[..., RunResult]) -> RunResult:
    """Return the result of ``render(out=folder, progress=progress)``, and show its progress meanwhile.

    A copy that could not be sent is no error yet: ``summarise`` sends it again, and says what is wrong.
    """
    with run_folder(out, prefix) as folder, LiveProgress() as progress:
        try:
            return render(out=folder, progress=progress)
        except CopyError:
            return load_run(folder)


def summarise(result: RunResult, copy_to: str | None = None) -> None:
    """Build the report, and print how many rows have each verdict and where the report lies.

    Args:
        copy_to: URL to which the report is sent too, with what else of the run is not there yet.

    Raises:
        CopyError: after all was printed.
    """
    from harness.report.build import build_report

    damaged: list[HarnessError] = []
    try:
        index = build_report(result.folder, damaged=damaged)
    except KeyboardInterrupt:
        interrupted(f"all is saved but the report; go on with harness report {result.folder}")
    say(f"{count(len(result.rows))}: {counts_in_words(result.counts, Verdict) or 'none'}")
    for found in result.drifting_sets:
        say(f"drift of {found.job} as a whole: {found.reason}")
    for line in origins_in_words(by_origin(result.rows)):
        say(line)
    for row in result.rows:
        if row.nearest is not None:
            say(f"{row.case}: {describe(row.nearest)}")
    if taken := sum(row.taken_from is not None for row in result.rows):
        say(f"{taken} of their renders were there already; --fresh makes them again")
    for warning in dict.fromkeys(text for row in result.rows for text in row.warnings):
        say(f"warning: {warning}")
    if result.missing:
        say(f"{count(len(result.missing))} of the run without a result yet, e.g. {result.missing[0]}")
    say_left_out(damaged)
    say(f"report: {index}")
    if copy_to is not None:
        from harness._util.redaction import redact
        from harness.runs.mirror import Mirror

        Mirror(result.folder, copy_to).send()
        say(f"copy: {redact(copy_to)}")


def say_left_out(damaged: Iterable[HarnessError]) -> None:
    """Name what of a run folder its report leaves out; the command's exit code is not about that."""
    for each in damaged:
        say(f"left out of the report: {each}")


def finish(result: RunResult, copy_to: str | None = None) -> NoReturn:
    """Summarise, and exit with the run's code."""
    summarise(result, copy_to)
    sys.exit(result.exit_code)
