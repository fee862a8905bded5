"""Say which preview of a run drifts first, as soon as its row is there."""

from __future__ import annotations

from pathlib import Path

from harness.runs.planned import Planned
from harness.runs.progress import Progress
from harness.runs.run_files import read_rows
from harness.schema.case import SUFFIX
from harness.schema.result import Row, Verdict

DRIFTS = frozenset({Verdict.DRIFT, Verdict.REGRESSION})


class FirstDrift(Progress):
    """Shows a run as ``shown`` does, and adds a line below the first row that drifts.

    Args:
        out: the run folder; what drifts there already was told before.
        cases: folder of the case files.
    """

    def __init__(self, shown: Progress, out: Path, cases: Path) -> None:
        self._shown, self._cases = shown, cases
        self._told = any(row.verdict in DRIFTS for row in read_rows(out))

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """See ``Progress``."""
        self._shown.started(folder, todo, done)

    def told(self, line: str) -> None:
        """See ``Progress``."""
        self._shown.told(line)

    def case_started(self, planned: Planned) -> None:
        """See ``Progress``."""
        self._shown.case_started(planned)

    def step_done(self, done: int, total: int) -> None:
        """See ``Progress``."""
        self._shown.step_done(done, total)

    def case_done(self, row: Row) -> None:
        """Show a row; where it is the first that drifts, say what to do."""
        self._shown.case_done(row)
        if row.verdict in DRIFTS and not self._told and row.description is not None:
            self._told = True
            file = self._cases / f"{row.description.name}{SUFFIX}"
            self._shown.told(f"first drift: {row.case}; find out why: harness diagnose {file}")
