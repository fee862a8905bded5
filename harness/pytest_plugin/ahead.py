"""A case's scores beside the next case's render: another process scores while the GPU goes on."""

from __future__ import annotations

from contextlib import suppress

from harness.errors import HarnessError
from harness.pytest_plugin.progress import StepProgress
from harness.runs.plan import Planned
from harness.runs.preflight import preflight
from harness.runs.row import Row
from harness.runs.runner import CaseRunner, Outcome
from harness.runs.scoring_pool import Scoring


class Ahead:
    """Makes planned cases into rows, one render ahead of them where they are scored in another process.

    The time of the render ahead counts as the case's before it.
    """

    def __init__(self, scoring: Scoring, progress: StepProgress) -> None:
        self._scoring = scoring
        self._progress = progress
        self._made: tuple[Planned, Outcome] | None = None

    def row(self, runner: CaseRunner, item: Planned, upcoming: Planned | None) -> Row:
        """Return the row of ``item``; ``upcoming`` is rendered meanwhile, unless None.

        Raises:
            HarnessError: bad input.
        """
        outcome = self._outcome(runner, item)
        finished = runner.finished(item, outcome)
        if finished is None:
            return runner.row(item, outcome, None)
        future = self._scoring.submit(finished)
        try:
            if upcoming is not None and self._scoring.depth and not self._is_made(upcoming):
                with suppress(HarnessError):  # bad input is for its own test to say
                    self._made = upcoming, self._render(runner, upcoming)
        finally:
            evidence = self._scoring.result(finished, future)
        return runner.row(item, outcome, evidence)

    def close(self) -> None:
        """End the scoring process."""
        self._scoring.close()

    def _outcome(self, runner: CaseRunner, item: Planned) -> Outcome:
        if not self._is_made(item):
            return self._render(runner, item)
        assert self._made is not None
        (_, outcome), self._made = self._made, None
        return outcome

    def _is_made(self, item: Planned) -> bool:
        return self._made is not None and self._made[0] is item

    def _render(self, runner: CaseRunner, item: Planned) -> Outcome:
        self._progress.case_started(item.case.id)
        try:
            preflight([item], runner.options)
            return runner.render(item)
        finally:
            self._progress.case_ended(item.case.settings.sample_steps)
