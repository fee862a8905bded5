"""A run's progress that takes the time; for the benchmarks beside it."""

from __future__ import annotations

import time
from pathlib import Path

from harness.runs.plan import Planned
from harness.schema.result import Row


class Clock:
    """Seconds from its making to every start of a case and every stored row; what was planned and stored."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.starts: list[float] = []
        self.planned: list[Planned] = []
        self.rows: list[float] = []
        self.stored: list[Row] = []

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """Do nothing."""

    def told(self, line: str) -> None:
        """Print it."""
        print(line, flush=True)

    def case_started(self, planned: Planned) -> None:
        """Take the time: with one renderer, its render begins now."""
        self.starts.append(time.perf_counter() - self.began)
        self.planned.append(planned)

    def step_done(self, done: int, total: int) -> None:
        """Do nothing."""

    def case_done(self, row: Row) -> None:
        """Take the time."""
        self.rows.append(time.perf_counter() - self.began)
        self.stored.append(row)
        if row.rendered is None:
            print(row.reason, flush=True)
