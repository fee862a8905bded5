"""One opened run, whoever asks for it: command line, pytest, sweep or calibration.

It knows the machine, the base revisions, the run folder and the limits. A run is one environment: a folder
whose run had other cases, options, bases or another environment is refused, and what differs is named.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from harness._util.garbage_collector import pause_collection
from harness._util.signals import deliver_interrupts
from harness.errors import HarnessError
from harness.metrics.threads import import_libraries
from harness.runs.case_runner import CaseRunner
from harness.runs.dispatch import Outcome, dispatch
from harness.runs.folder import RunFolder
from harness.runs.mirror import Mirror
from harness.runs.plan import RunOptions, request_of
from harness.runs.planned import Planned
from harness.runs.preflight import Preflight, memory_lines
from harness.runs.progress import Progress
from harness.runs.queue import RowQueue
from harness.runs.render_cache import RenderCache
from harness.runs.run_files import write_rows
from harness.runs.scorer import Scorer
from harness.runs.scoring_pool import ScoringPool, default_workers
from harness.runs.setup import Setup
from harness.runs.t5_kernel import T5Kernels, with_other
from harness.runs.workers import WorkerPool, first_render, reference_renderer
from harness.schema.case import Case
from harness.schema.render import Renderer
from harness.schema.result import Row


class RunSession:
    """A run that is open: renders what has no valid row, and stores rows.

    Attributes:
        folder: the run folder, locked for this process.
        runner: makes renders into rows.
    """

    def __init__(
        self,
        setup: Setup,
        folder: RunFolder,
        pool: WorkerPool,
        scorer: Scorer,
        cache: RenderCache,
        score_workers: int,
        progress: Progress,
        kernels: T5Kernels | None = None,
    ) -> None:
        options = setup.options
        self.setup, self.folder, self.scorer = setup, folder, scorer
        self._pool, self._cache, self._progress = pool, cache, progress
        self._score_workers = score_workers
        facts = setup.machine.environment
        self.runner = CaseRunner(folder, cache, options, facts, kernels, progress.step_done)
        self._queue: RowQueue | None = None

    @property
    def queue(self) -> RowQueue:
        """Renders on their way to rows; the first use starts the scoring processes."""
        if self._queue is None:
            weights = self.setup.options.lpips_weights
            self._queue = RowQueue(self.runner, ScoringPool(self.scorer, weights, self._score_workers))
        return self._queue

    def close(self) -> None:
        """Free renderers and scoring processes."""
        self._pool.close()
        if self._queue is not None:
            self._queue.close()

    def run(self, planned: Sequence[Planned]) -> None:
        """Render, score and store every item that has no valid row; the renderers are closed after that.

        Where a failure ends it, what was rendered is scored and stored first. Ctrl-C waits for no scores:
        the renders are on disk.

        Raises:
            HarnessError: bad input that only the loaded weights could show, or images that cannot be scored.
        """
        todo = self._todo(planned)
        self._progress.started(self.folder.path, todo, len(planned) - len(todo))
        if todo:
            self._run(todo)
            if len(self._pool.renderers) > 1:
                self._restore_order(planned)

    def _run(self, todo: list[Planned]) -> None:
        self._tell_memory()
        _ = self.queue  # its processes import while the base loads
        rendered = [item for item in todo if item.request is not None and item.same_as is None]
        self._search_cache(rendered)
        try:
            try:
                self._render(rendered)
            finally:
                self._pool.close()  # beside the last scores
            for item in todo:
                if item.request is None or item.same_as is not None:
                    self._progress.case_started(item)
                    self._enqueue(item, None)
        except Exception:
            self._store_all()
            raise
        self._store_all()

    def render(self, item: Planned) -> Outcome:
        """Return the render of one item, why it failed, or None where nothing is rendered."""
        return self.runner.render(item, self._pool.renderers[0])

    def store(self, item: Planned, row: Row) -> None:
        """Append a row; its render need not wait any more."""
        self.folder.append(row)
        self._cache.stored(item, row)
        self._progress.case_done(row)

    def _todo(self, planned: Sequence[Planned]) -> list[Planned]:
        fresh = self.setup.options.fresh
        todo = []
        for item in planned:
            valid = not fresh and self.runner.valid_row(item) is not None
            if not valid:
                todo.append(item)
            if valid or fresh:
                self._cache.discard(item)
        return todo

    def _tell_memory(self) -> None:
        setup, machine = self.setup, self.setup.machine
        free = machine.cluster.facts.free if machine.cluster is not None else None
        for line in memory_lines(setup.bases, setup.planned, setup.options, machine.device, free):
            self._progress.told(line)

    def _search_cache(self, todo: list[Planned]) -> None:
        if not (self.setup.options.fresh or self.setup.options.baselines):
            self._cache.search_runs([*todo, *map(with_other, self.setup.planned)])

    def _render(self, todo: list[Planned]) -> None:
        renderers = self._pool.renderers
        alone = len(renderers) == 1
        self._announce(todo)
        if self.setup.options.cpu_processes > 1:
            import_libraries()  # this process has no more to do until theirs are imported

        def render(item: Planned, renderer: Renderer) -> Outcome:
            if alone:
                self._progress.case_started(item)
            return self.runner.render(item, renderer)

        with closing(dispatch(todo, renderers, render)) as outcomes:
            for item, outcome in outcomes:
                if not alone:
                    self._progress.case_started(item)
                self._enqueue(item, outcome)

    def _announce(self, todo: list[Planned]) -> None:
        """Tell every renderer its share; a caller's own need not want to know."""
        renderers = self._pool.renderers
        for number, renderer in enumerate(renderers):
            share = [item.request for item in todo[number :: len(renderers)] if item.request is not None]
            if hasattr(renderer, "expect"):
                renderer.expect(share)

    def _enqueue(self, item: Planned, outcome: Outcome) -> None:
        with deliver_interrupts():
            self.queue.add(item, outcome)
            while self.queue.is_due:
                self._store_oldest()

    def _store_oldest(self) -> None:
        item = self.queue.oldest()
        self.store(item, self.queue.take(item))

    def _store_all(self) -> None:
        failed: HarnessError | None = None
        while len(self.queue):
            try:
                with deliver_interrupts():
                    self._store_oldest()
            except HarnessError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _restore_order(self, planned: Sequence[Planned]) -> None:
        """Put rows in the order of the plan: how many renderers there were does not show."""
        places = [(item.case.id, item.variant) for item in planned]
        write_rows(
            self.folder.path, [self.folder.done[place] for place in places if place in self.folder.done]
        )


@contextmanager
def open_run(
    setup: Setup,
    out: Path,
    *,
    renderer: Renderer | None = None,
    progress: Progress | None = None,
    reuse: bool = True,
) -> Iterator[RunSession]:
    """Open the run folder ``out``, with renderers, scoring processes and the copy that ``options`` ask for.

    Args:
        renderer: a system under test of the caller's own; the reference pipeline unless given.
        reuse: whether renders may be taken from run folders, and later runs may take these.

    Raises:
        HarnessError: the folder holds another run, is in use or cannot be written, or the copy cannot.
    """
    options, identity = setup.options, setup.identity()
    progress = progress or Progress()
    with pause_collection():
        scorer = Scorer(options.lpips_weights, setup.metrics())
    with ExitStack() as stack:
        mirror = Mirror(out, options.copy_to, progress.told) if options.copy_to is not None else None
        if mirror is not None:
            mirror.check(identity)
        fetch = mirror.fetch if mirror is not None else None
        folder = stack.enter_context(RunFolder(out, identity, _about(setup), fetch, setup.grows))
        if mirror is not None:
            stack.enter_context(mirror)
        with pause_collection():  # what it imports stays: looking for garbage among it takes seconds
            first = first_render(setup.bases, (item.request for item in setup.planned))
            pool = WorkerPool(options, setup.machine, renderer, first)
        workers = options.score_workers
        if workers is None:
            renders = sum(item.request is not None and item.same_as is None for item in setup.planned)
            workers = default_workers(setup.machine.device, len(pool.renderers), renders)
        ours = renderer is None and setup.machine.system is None
        waits = workers > 0 or len(pool.renderers) > 1
        cache = RenderCache(out, setup.keys() if reuse and ours else None, writes=waits)
        kernels = T5Kernels(setup.planned, progress.told) if ours else None
        session = RunSession(setup, folder, pool, scorer, cache, workers, progress, kernels)
        stack.callback(session.close)
        yield session


@contextmanager
def open_renderer(
    cases: Sequence[Case], options: RunOptions, renderer: Renderer | None = None
) -> Iterator[tuple[str, Renderer]]:
    """Check ``cases``, and open one renderer for trials of them, which belong to no run.

    Args:
        renderer: the caller's own, which stays open; the reference pipeline unless given.

    Yields:
        The device, ``cpu`` or ``cuda``, and the renderer.

    Raises:
        HarnessError: a case's files, its base or the device cannot be used.
    """
    from harness.schema.device import choose_device

    with pause_collection():
        device = choose_device(options.device)
        planned = [Planned(case, request_of(case, options, device)) for case in cases]
        bases = Preflight().check(planned, options)
        first = first_render(bases, (item.request for item in planned))
        made = renderer or reference_renderer(options, device, first)
    try:
        yield device, made
    finally:
        if renderer is None:
            made.close()


def _about(setup: Setup) -> dict[str, Any]:
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"created": created, "environment": setup.machine.environment}
