"""Makes renders into stored rows, in the order in which they were handed in, while the next one renders."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

from harness._util.signals import deliver_interrupts
from harness.errors import HarnessError
from harness.runs.case_runner import CaseRunner, Outcome
from harness.runs.plan import Planned
from harness.runs.scorer import Evidence, Finished
from harness.runs.scoring_pool import Scoring
from harness.schema.result import Row


@dataclass(frozen=True)
class _Waiting:
    item: Planned
    outcome: Outcome
    finished: Finished | None
    future: Future[Evidence] | None


class Desk:
    """A bounded queue of renders on their way into the run folder.

    Where a failure ends the run, what was handed in is scored and stored first. Ctrl-C waits for no scores:
    the renders are on disk, see ``waiting``.

    Args:
        done: called with every stored row.
    """

    def __init__(self, runner: CaseRunner, scoring: Scoring, done: Callable[[Row], None]) -> None:
        self._runner, self._scoring, self._done = runner, scoring, done
        self._waiting: deque[_Waiting] = deque()

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, KeyboardInterrupt):
                self._store_all()
        finally:
            self._scoring.close()

    def put(self, item: Planned, outcome: Outcome) -> None:
        """Hand in a render; waits where too many are under way already.

        Raises:
            HarnessError: an earlier render cannot be scored or stored.
        """
        finished = self._runner.finished(item, outcome)
        with deliver_interrupts():
            future = self._scoring.submit(finished) if finished is not None else None
            self._waiting.append(_Waiting(item, outcome, finished, future))
            while self._waiting and (len(self._waiting) > self._scoring.depth or self._first_is_ready()):
                self._store_first()

    def _store_all(self) -> None:
        failed: HarnessError | None = None
        while self._waiting:
            try:
                with deliver_interrupts():
                    self._store_first()
            except HarnessError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _first_is_ready(self) -> bool:
        future = self._waiting[0].future
        return future is None or future.done()

    def _store_first(self) -> None:
        first = self._waiting.popleft()
        evidence = None
        if first.finished is not None and first.future is not None:
            evidence = self._scoring.result(first.finished, first.future)
        row = self._runner.row(first.item, first.outcome, evidence)
        self._runner.folder.append(row)
        if self._runner.waiting is not None:
            self._runner.waiting.drop(first.item)
        self._done(row)
