"""What a run tells while it goes on."""

from __future__ import annotations

from pathlib import Path

from harness.runs.plan import Planned
from harness.schema.result import Row


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
