"""Render on several renderers at once: one GPU, one process or one machine each."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from queue import Queue

from harness.errors import DeviceLostError
from harness.runs.case_runner import CaseRunner, Outcome
from harness.runs.plan import Planned
from harness.schema.render import OnStep, Render, Renderer, RenderRequest, TrajectoryRenderer

PARTS = 4
"""Parts for each renderer: the last one to finish is not waited for long, and weights change rarely."""

PATIENCE = 0.5
"""Seconds that Ctrl-C waits for renders under way."""

TRIES = 2
"""How often a render is begun whose process is lost."""

Put = Callable[[Planned, Outcome], None]


class Retrying(Renderer):
    """A renderer whose process may be lost: it is started again, and the render with it."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._closed = False

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``.

        Raises:
            DeviceLostError: the process was lost every time.
        """
        for tried in range(1, TRIES + 1):
            try:
                return self._renderer.render(request, on_step)
            except DeviceLostError:
                self._renderer.close()
                if tried == TRIES or self._closed:
                    raise
        raise AssertionError

    def trajectories(self) -> TrajectoryRenderer | None:
        """Return what the wrapped renderer offers."""
        return self._renderer.trajectories()

    def close(self) -> None:
        """End the process; a render under way is lost with it, and not tried again."""
        self._closed = True
        self._renderer.close()


def parts(todo: Sequence[Planned], renderers: int) -> list[list[Planned]]:
    """Split renders, in their order, into parts that share weights."""
    size = ceil(len(todo) / (PARTS * renderers)) if todo else 1
    found: list[list[Planned]] = []
    for item in todo:
        last = found[-1] if found else []
        if not last or len(last) == size or _weights(last[0]) != _weights(item):
            found.append([])
        found[-1].append(item)
    return found


def spread(runner: CaseRunner, todo: Sequence[Planned], renderers: Sequence[Renderer], put: Put) -> None:
    """Hand in every item of ``todo`` with its outcome, in this thread, as the renderers finish.

    A failure lets every renderer finish what it has begun, which is handed in too. Ctrl-C hands in nothing
    more: what is finished waits on disk, and what is not at once is lost when the renderers are closed.

    Raises:
        HarnessError: bad input that only the loaded weights could show.
    """
    waiting = deque(parts([item for item in todo if _is_rendered(item)], len(renderers)))
    done: Queue[tuple[Planned, Outcome] | BaseException] = Queue()
    stop = threading.Event()

    def next_part() -> list[Planned]:
        try:
            return waiting.popleft()
        except IndexError:
            return []

    def work(renderer: Renderer) -> None:
        own = dataclasses.replace(runner, renderer=renderer, on_step=None)
        try:
            for part in iter(next_part, []):
                for item in part:
                    if stop.is_set():
                        return
                    done.put((item, own.render(item)))
        except BaseException as error:  # for the thread that waits
            done.put(error)

    threads = [threading.Thread(target=work, args=(renderer,), daemon=True) for renderer in renderers]
    for thread in threads:
        thread.start()
    patience: float | None = None
    try:
        for _ in range(sum(map(_is_rendered, todo))):
            _hand_in(done.get(), put)
    except KeyboardInterrupt:
        patience = PATIENCE / len(threads)
        raise
    finally:
        stop.set()
        for thread in threads:
            thread.join(patience)
        while patience is None and not done.empty():
            if not isinstance(late := done.get(), BaseException):
                put(*late)
    for item in todo:
        if not _is_rendered(item):
            put(item, None)


def _hand_in(finished: tuple[Planned, Outcome] | BaseException, put: Put) -> None:
    if isinstance(finished, BaseException):
        raise finished
    put(*finished)


def _is_rendered(item: Planned) -> bool:
    return item.request is not None and item.same_as is None


def _weights(item: Planned) -> tuple[str, ...]:
    assert item.request is not None
    return item.request.weights_key
