"""The way from a render to its row: scores are computed beside the next render, rows leave in order."""

from __future__ import annotations

from collections.abc import Container
from concurrent.futures import Future
from dataclasses import dataclass

from harness.runs.case_runner import CaseRunner
from harness.runs.dispatch import Outcome
from harness.runs.planned import Planned
from harness.runs.scorer import ScoringJob, ScoringResult
from harness.runs.scoring_pool import ScoringPool
from harness.schema.result import Row


@dataclass(frozen=True)
class _Entry:
    item: Planned
    outcome: Outcome
    job: ScoringJob | None
    scores: Future[ScoringResult] | None

    @property
    def is_scored(self) -> bool:
        return self.scores is None or self.scores.done()


class RowQueue:
    """Renders on their way to rows, the oldest first."""

    def __init__(self, runner: CaseRunner, scoring: ScoringPool) -> None:
        self._runner, self._scoring = runner, scoring
        self._entries: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: Planned) -> bool:
        return any(entry.item is item for entry in self._entries)

    def add(self, item: Planned, outcome: Outcome) -> None:
        """Begin to score what became of ``item``.

        Raises:
            HarnessError: the preview cannot be kept, or the images cannot be read.
            OSError: the disk refuses.
        """
        job = self._runner.scoring_job(item, outcome)
        scores = self._scoring.submit(job) if job is not None else None
        self._entries.append(_Entry(item, outcome, job, scores))

    @property
    def is_due(self) -> bool:
        """Whether the oldest render is scored, or so many wait that rendering has to."""
        return bool(self._entries) and (len(self) > self._scoring.depth or self._entries[0].is_scored)

    def is_scored(self, item: Planned) -> bool:
        """Return whether ``item`` need not be waited for; also where it is not in the queue."""
        return all(entry.is_scored for entry in self._entries if entry.item is item)

    def oldest(self) -> Planned:
        """Return the item that was added first."""
        return self._entries[0].item

    def take(self, item: Planned) -> Row:
        """Remove ``item``, wait for its scores and return its row.

        Raises:
            HarnessError: its images cannot be read or written.
        """
        entry = next(entry for entry in self._entries if entry.item is item)
        self._entries.remove(entry)
        scores = None
        if entry.job is not None and entry.scores is not None:
            scores = self._scoring.result(entry.job, entry.scores)
        return self._runner.row(item, entry.outcome, scores)

    def retain(self, items: Container[int]) -> None:
        """Forget every item whose ``id()`` is not among ``items``."""
        self._entries = [entry for entry in self._entries if id(entry.item) in items]

    def close(self) -> None:
        """End the scoring processes; what still waits for its scores is forgotten."""
        self._scoring.close()
