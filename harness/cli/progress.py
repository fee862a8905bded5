"""What a run shows while it goes on: the case, the steps done and left, and each verdict."""

from __future__ import annotations

from pathlib import Path

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from harness.cli import interrupted
from harness.runs.plan import REFERENCE, Planned
from harness.runs.progress import Progress
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

    def __init__(self, option: str = "--out") -> None:
        self._console, self._option = Console(), option
        self._folder: Path | None = None
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("steps ·"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("· left"),
            bars.TimeRemainingColumn(),
            console=self._console,
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
