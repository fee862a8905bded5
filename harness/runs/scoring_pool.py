"""Score rendered images here, or in worker processes while the next image renders."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from harness._util.signals import deliver_interrupts, shield_children
from harness.runs.scorer import Evidence, Finished, Scorer

MOST_WORKERS = 4
"""Four take in a 1024² image every 0.7 s (2.7 s of processor time each): faster than one GPU renders."""

_scorer: Scorer | None = None


class Scoring(Protocol):
    """Where images are scored."""

    depth: int
    """How many images may wait for their scores before rendering waits for them."""

    def submit(self, finished: Finished) -> Future[Evidence]:
        """Begin to score."""
        ...

    def result(self, finished: Finished, future: Future[Evidence]) -> Evidence:
        """Wait for what ``submit`` began.

        Raises:
            HarnessError: the images cannot be read or written.
        """
        ...

    def close(self) -> None:
        """Give up what nobody waits for, at once."""
        ...


class Here:
    """Scores in this process, at once."""

    depth = 0

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def submit(self, finished: Finished) -> Future[Evidence]:
        """Score."""
        future: Future[Evidence] = Future()
        future.set_result(self._scorer.gather(finished))
        return future

    def result(self, finished: Finished, future: Future[Evidence]) -> Evidence:
        """Return the scores."""
        return future.result()

    def close(self) -> None:
        """Do nothing."""


class Processes:
    """Scores in ``workers`` processes of one thread each; where they die, in this one.

    Args:
        scorer: scores what a dead worker left.
        weights: LPIPS layers other than the shipped ones, for the workers.
    """

    def __init__(self, scorer: Scorer, weights: Path | None, workers: int) -> None:
        import multiprocessing

        self.depth = 2 * workers
        self._scorer = scorer
        self._pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(weights,)
        )
        try:  # they import for seconds: while the base loads, not while images wait
            with suppress(BrokenProcessPool), deliver_interrupts(), shield_children():
                for _ in range(workers):
                    self._pool.submit(_ready)
        except BaseException:
            self.close()
            raise

    def submit(self, finished: Finished) -> Future[Evidence]:
        """Hand an image to the next free worker."""
        try:
            with shield_children():  # it starts a process where none is free
                return self._pool.submit(_gather, finished)
        except BrokenProcessPool as error:
            future: Future[Evidence] = Future()
            future.set_exception(error)
            return future

    def result(self, finished: Finished, future: Future[Evidence]) -> Evidence:
        """Wait for a worker."""
        try:
            return future.result()
        except BrokenProcessPool:
            return self._scorer.gather(finished)

    def close(self) -> None:
        """End the workers, also those that still import or score."""
        for worker in list((self._pool._processes or {}).values()):  # Python 3.14 has kill_workers
            worker.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


def scoring(scorer: Scorer, weights: Path | None, workers: int) -> Scoring:
    """Return a place to score in: ``workers`` processes, at most one for each core, or this one for 0."""
    if not workers:
        return Here(scorer)
    return Processes(scorer, weights, min(workers, os.cpu_count() or 1))


def default_workers(device: str, renderers: int = 1) -> int:
    """Return how many processes score beside a render: none on the CPU, where rendering takes every core.

    Args:
        device: ``cpu`` or ``cuda``: where is rendered.
        renderers: how many GPUs render at once.
    """
    if device == "cpu":
        return 0
    return min(MOST_WORKERS * renderers, max(1, (os.cpu_count() or 2) - 1))


def _begin(weights: Path | None) -> None:
    """Load the scorer in a worker, which ends with its parent."""
    import torch

    global _scorer  # noqa: PLW0603
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _scorer = Scorer(weights)


def _end_with_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _ready() -> None:
    """Do nothing, in a worker that has begun."""


def _gather(finished: Finished) -> Evidence:
    assert _scorer is not None
    return _scorer.gather(finished)
