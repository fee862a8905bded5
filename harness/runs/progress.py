"""What a run tells while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.runs.planned import Planned
from harness.schema.result import REFERENCE, Row

if TYPE_CHECKING:
    from rich.console import Console

NAME_WIDTH = 28
"""Columns of a case's name beside the bar, so that all of it fits 80."""


class Progress:
    """Tells nobody; front ends override what they show."""

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """The run begins with ``todo``; ``done`` other cases already have rows."""

    def told(self, line: str) -> None:
        """Something to know before the first render, in one line."""

    def case_started(self, planned: Planned) -> None:
        """A case begins."""

    def step_done(self, done: int, total: int) -> None:
        """``done`` of ``total`` denoising steps of the current case are made."""

    def case_done(self, row: Row) -> None:
        """A row was stored."""


class ProgressBar(Progress):
    """A bar over all denoising steps, with the current case and the time left.

    Args:
        live: whether it is drawn in a thread of its own, or only by ``bar.refresh``.
    """

    def __init__(self, console: Console, *, live: bool = True) -> None:
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("steps ·"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("· left"),
            progress.TimeRemainingColumn(),
            console=console,
            auto_refresh=live,
            transient=not live,
            redirect_stdout=live,
            redirect_stderr=live,
        )
        self._task = self.bar.add_task("loading the base", total=None)
        self._steps, self._current = 0, 0

    def plan(self, steps: int) -> None:
        """Make the bar as long as ``steps`` denoising steps."""
        self.bar.update(self._task, total=steps)

    def case_started(self, planned: Planned) -> None:
        """Name the case, and count the steps of the one before it."""
        self._steps, self._current = self._steps + self._current, steps_of(planned)
        name = planned.case.id if planned.variant == REFERENCE else f"{planned.case.id} {planned.variant}"
        self.bar.update(self._task, completed=self._steps, description=tail(name, NAME_WIDTH))

    def step_done(self, done: int, total: int) -> None:
        """Move the bar."""
        self.bar.update(self._task, completed=self._steps + done)

    def finish(self) -> None:
        """Fill the bar."""
        self.bar.update(self._task, completed=self.bar.tasks[self._task].total)


def steps_of(planned: Planned) -> int:
    """Return how many denoising steps a planned render makes."""
    return planned.request.sample_steps if planned.request is not None and planned.same_as is None else 0


def tail(text: str, width: int) -> str:
    """Return the end of ``text`` in at most ``width`` columns: names of one job differ at their end."""
    return text if len(text) <= width else f"…{text[1 - width :]}"
