"""A case's scores beside the next cases' renders: other processes score while the GPU goes on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

from harness.errors import HarnessError
from harness.pytest_plugin.step_progress import StepProgress
from harness.runs.case_runner import CaseRunner, Outcome
from harness.runs.plan import Planned
from harness.runs.preflight import Preflight
from harness.runs.scorer import Evidence, Finished
from harness.runs.scoring_pool import Scoring
from harness.schema.result import Row


@dataclass(frozen=True)
class _Made:
    """A case whose render is over: with its scores under way, where there are some to wait for."""

    item: Planned
    outcome: Outcome = None
    finished: Finished | None = None
    future: Future[Evidence] | None = None
    refused: HarnessError | OSError | None = None


class Ahead:
    """Makes planned cases into rows; while a case is scored in another process, those after it are rendered.

    The time of these renders counts as the case's. What they fail with is for their own turn to say.

    Args:
        most: how many cases may be rendered before their turn.
    """

    def __init__(self, scoring: Scoring, most: int, progress: StepProgress) -> None:
        self._scoring = scoring
        self._most = most
        self._progress = progress
        self._preflight = Preflight()
        self._waiting: list[_Made] = []

    def row(self, runner: CaseRunner, item: Planned, following: Iterable[Planned]) -> Row:
        """Return the row of ``item``; as many of ``following`` as its scores take time for are rendered.

        Raises:
            HarnessError: bad input.
            OSError: the disk refused an image.
        """
        coming = list(islice(following, self._most))
        made = self._taken(item, coming) or self._make(runner, item)
        if made.refused is not None:
            raise made.refused
        if made.finished is None or made.future is None:
            return runner.row(item, made.outcome, None)
        self._fill(runner, made.future, coming)
        evidence = self._scoring.result(made.finished, made.future)
        return runner.row(item, made.outcome, evidence)

    def close(self) -> None:
        """End the scoring processes."""
        self._scoring.close()

    def _taken(self, item: Planned, coming: list[Planned]) -> _Made | None:
        """Return what was made of ``item`` ahead; what is not ``coming`` either is forgotten."""
        taken = next((made for made in self._waiting if made.item is item), None)
        self._waiting = [made for made in self._waiting if any(made.item is other for other in coming)]
        return taken

    def _fill(self, runner: CaseRunner, scores: Future[Evidence], coming: list[Planned]) -> None:
        """Render ahead, in order, until the scores are there; not past what was refused."""
        for item in coming:
            if scores.done() or any(made.refused for made in self._waiting):
                return
            if not any(made.item is item for made in self._waiting):
                self._waiting.append(self._make(runner, item))

    def _make(self, runner: CaseRunner, item: Planned) -> _Made:
        """Render ``item`` and begin to score it."""
        try:
            outcome = self._render(runner, item)
            finished = runner.finished(item, outcome)
            future = self._scoring.submit(finished) if finished is not None else None
        except (HarnessError, OSError) as error:
            return _Made(item, refused=error)
        return _Made(item, outcome, finished, future)

    def _render(self, runner: CaseRunner, item: Planned) -> Outcome:
        with self._progress.rendering(item):
            self._preflight.check([item], runner.options)
            return runner.render(item)
