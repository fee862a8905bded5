"""What commands print about a run: progress while it runs, counts and the report's path at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from harness.cli import interrupted
from harness.errors import CopyError
from harness.runs.new_folder import fresh_folder
from harness.runs.plan import REFERENCE, Planned
from harness.runs.progress import Progress
from harness.runs.results import RunResult, load_run
from harness.schema.result import Row, Verdict

STYLES = {
    Verdict.MATCH: "green",
    Verdict.DRIFT: "yellow",
    Verdict.REGRESSION: "red",
    Verdict.INCOMPARABLE: "cyan",
    Verdict.ERROR: "red",
}


ID_WIDTH = 28
"""Columns of the case's name beside the bar, so that all of it fits 80."""


def tail(text: str, width: int) -> str:
    """Return the end of ``text`` in at most ``width`` columns: names of one job differ at their end."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def count(cases: int) -> str:
    """Return a number of cases in words."""
    return "1 case" if cases == 1 else f"{cases} cases"


class LiveProgress(Progress):
    """A bar over all denoising steps, with the current case and the time left.

    Ctrl-C ends the command with exit code 130 and says how to go on.

    Args:
        option: the option that names the run folder.
    """

    def __init__(self, console: Console, option: str = "--out") -> None:
        self._console, self._option = console, option
        self._folder: Path | None = None
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._steps_before = 0
        self._task = self._bar.add_task("loading", total=None)
        self._current: Planned | None = None

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._bar.update(self._task, completed=self._bar.tasks[self._task].total)
        if self._bar.live.is_started:
            self._bar.stop()
        if kind is KeyboardInterrupt and self._folder is not None:
            interrupted(f"what was finished is saved; repeat the command with {self._option} {self._folder}")

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """Say where the run goes, and how much of it was done before."""
        self._folder = folder
        resumed = f", {done} of them done before" if done else ""
        self._console.print(Text(f"{count(len(todo) + done)} → {folder}{resumed}"))
        steps = sum(item.request.sample_steps for item in todo if item.request is not None)
        if steps:
            self._bar.update(self._task, total=steps, description="loading the base")
            self._bar.start()

    def told(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def case_started(self, planned: Planned) -> None:
        """Name the case, and count the steps of the one before it."""
        if self._current is not None and self._current.request is not None:
            self._steps_before += self._current.request.sample_steps
        self._current = planned
        self._bar.update(
            self._task, completed=self._steps_before, description=tail(planned.case.id, ID_WIDTH)
        )

    def step_done(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=self._steps_before + done)

    def case_done(self, row: Row) -> None:
        """Print the case's verdict above the bar; only a terminal gets it cut to one line."""
        if self._console.is_terminal:
            self._console.print(_line(row), no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(_line(row), soft_wrap=True)


def _line(row: Row) -> Text:
    name = row.case if row.variant == REFERENCE else f"{row.case} {row.variant}"
    return Text.assemble(
        (f"{row.verdict.value:>12}", STYLES[row.verdict]), "  ", name, "  ", (row.reason, "dim")
    )


def run_folder(named: Path | None, prefix: str = "") -> AbstractContextManager[Path]:
    """Return the run folder that the user named, or a new one in ``reports/`` of this time."""
    return nullcontext(named) if named else fresh_folder(Path("reports"), prefix)


def rendered(out: Path | None, prefix: str, render: Callable[..., RunResult]) -> RunResult:
    """Return the result of ``render(out=folder, progress=progress)``, and show its progress meanwhile.

    A copy that could not be sent is no error yet: ``summarise`` sends it again, and says what is wrong.
    """
    with run_folder(out, prefix) as folder, LiveProgress(Console()) as progress:
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

    try:
        index = build_report(result.folder)
    except KeyboardInterrupt:
        interrupted(f"all is saved but the report; go on with harness report {result.folder}")
    counts = ", ".join(
        f"{result.counts[verdict]} {verdict.value}" for verdict in Verdict if result.counts[verdict]
    )
    click.echo(f"{count(len(result.rows))}: {counts or 'none'}")
    if taken := sum(row.taken_from is not None for row in result.rows):
        click.echo(f"{taken} of their renders were there already; --fresh makes them again")
    for warning in dict.fromkeys(text for row in result.rows for text in row.warnings):
        click.echo(f"warning: {warning}")
    if result.missing:
        click.echo(f"{count(len(result.missing))} of the run without a result yet, e.g. {result.missing[0]}")
    click.echo(f"report: {index}")
    if copy_to is not None:
        from harness._util.redaction import redact
        from harness.runs.mirror import Mirror

        Mirror(result.folder, copy_to).send()
        click.echo(f"copy: {redact(copy_to)}")


def finish(result: RunResult, copy_to: str | None = None) -> NoReturn:
    """Summarise, and exit with the run's code."""
    summarise(result, copy_to)
    sys.exit(result.exit_code)
