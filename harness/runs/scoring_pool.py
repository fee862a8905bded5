"""Score rendered images here, or in worker processes while the next image renders."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Collection
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait

from harness._util.signals import deliver_interrupts, shield_children
from harness.metrics.scores import MetricName
from harness.runs.scorer import Scorer, ScoringJob, ScoringResult

MAX_WORKERS = 4
"""Four take in a 1024² image every 0.7 s (2.7 s of processor time each): faster than one GPU renders."""

_scorer: Scorer | None = None


class ScoringPool:
    """Scores in ``workers`` processes of one thread each, at most one for each core; 0 scores in this one.

    Args:
        scorer: scores here, also what a worker that died left.
        weights: LPIPS layers other than the shipped ones, for the workers.
    """

    def __init__(self, scorer: Scorer, weights: str | os.PathLike[str] | None, workers: int) -> None:
        workers = min(workers, os.cpu_count() or 1)
        self.depth = 2 * workers
        """How many images may wait for their scores before rendering waits for them."""
        self._scorer = scorer
        self._processes = _start(workers, weights, scorer.metrics.names) if workers else None

    def submit(self, job: ScoringJob) -> Future[ScoringResult]:
        """Begin to score."""
        future: Future[ScoringResult] = Future()
        if self._processes is None:
            future.set_result(self._scorer.run(job))
            return future
        try:
            with shield_children():  # it starts a process where none is free
                return self._processes.submit(_run, job)
        except BrokenProcessPool as error:
            future.set_exception(error)
            return future

    def result(self, job: ScoringJob, future: Future[ScoringResult]) -> ScoringResult:
        """Wait for what ``submit`` began.

        Raises:
            HarnessError: the images cannot be read or written.
        """
        try:
            return future.result()
        except BrokenProcessPool:
            return self._scorer.run(job)

    def close(self) -> None:
        """End the workers at once, also those that still import or score."""
        if self._processes is not None:
            _end(self._processes)


def _start(
    workers: int, weights: str | os.PathLike[str] | None, metrics: Collection[MetricName]
) -> ProcessPoolExecutor:
    """Start all workers: they import for seconds, while the base loads and not while images wait."""
    spawn = multiprocessing.get_context("spawn")
    processes = ProcessPoolExecutor(workers, spawn, initializer=_begin, initargs=(weights, metrics))
    try:
        with suppress(BrokenProcessPool), deliver_interrupts(), shield_children():
            for _ in range(workers):
                processes.submit(_ready)
    except BaseException:
        _end(processes)
        raise
    return processes


def _end(processes: ProcessPoolExecutor) -> None:
    for worker in list((processes._processes or {}).values()):  # Python 3.14 has kill_workers
        worker.kill()
    processes.shutdown(wait=True, cancel_futures=True)


def default_workers(device: str, renderers: int = 1, renders: int = MAX_WORKERS) -> int:
    """Return how many processes score beside a render: none on the CPU, where rendering takes every core.

    Args:
        device: ``cpu`` or ``cuda``: where is rendered.
        renderers: how many GPUs render at once.
        renders: how many are planned; there is nothing beside which to score a single one.
    """
    if device == "cpu" or renders < 2:
        return 0
    return min(MAX_WORKERS * renderers, max(1, (os.cpu_count() or 2) - 1))


def _begin(weights: str | os.PathLike[str] | None, metrics: Collection[MetricName]) -> None:
    """Load the scorer in a worker, which ends with its parent."""
    import torch

    global _scorer  # noqa: PLW0603
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _scorer = Scorer(weights, metrics)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _ready() -> None:
    """Do nothing, in a worker that has begun."""


def _run(job: ScoringJob) -> ScoringResult:
    assert _scorer is not None
    return _scorer.run(job)
