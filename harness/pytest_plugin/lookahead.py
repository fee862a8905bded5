"""While a case is scored in another process, the cases after it are rendered."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from harness.errors import HarnessError
from harness.pytest_plugin.step_progress import StepProgress
from harness.runs.planned import Planned
from harness.runs.preflight import Preflight
from harness.runs.session import RunSession
from harness.schema.result import Row


class Lookahead:
    """Makes planned cases into rows, in whatever order pytest asks for them.

    The time of renders made ahead counts as the asking case's. What they fail with is raised when their own
    turn comes.

    Args:
        depth: how many cases may be rendered before their turn.
    """

    def __init__(self, session: RunSession, preflight: Preflight, depth: int, progress: StepProgress) -> None:
        self._session, self._preflight = session, preflight
        self._depth, self._progress = depth, progress
        self._refused: dict[int, HarnessError | OSError] = {}

    def row(self, item: Planned, following: Iterable[Planned]) -> Row:
        """Return the row of ``item``; while its scores are computed, some of ``following`` are rendered.

        Raises:
            HarnessError: bad input.
            OSError: the disk refused an image.
        """
        queue = self._session.queue
        coming = list(islice(following, self._depth))
        expected = {id(each) for each in (item, *coming)}
        queue.retain(expected)
        self._refused = {key: error for key, error in self._refused.items() if key in expected}
        self._begin(item)
        for each in coming:
            if queue.is_scored(item) or self._refused:
                break
            self._begin(each)
        if (refused := self._refused.pop(id(item), None)) is not None:
            raise refused
        return queue.take(item)

    def _begin(self, item: Planned) -> None:
        """Render ``item`` and begin to score it, unless that was done."""
        if item in self._session.queue or id(item) in self._refused:
            return
        try:
            with self._progress.rendering(item):
                self._preflight.check([item], self._session.setup.options)
                outcome = self._session.render(item)
            self._session.queue.add(item, outcome)
        except (HarnessError, OSError) as error:
            self._refused[id(item)] = error
