"""Hand renders to renderers: one after the other, or to several at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from math import ceil
from queue import Queue

from harness.errors import HarnessError
from harness.runs.planned import Planned
from harness.schema.render import Render, Renderer

CHUNKS_PER_RENDERER = 4
"""Few enough that weights change rarely, many enough that nobody waits long for the slowest renderer."""

CTRL_C_SECONDS = 0.5
"""How long Ctrl-C waits for renders under way."""

Outcome = Render | HarnessError | None
"""A render, why it failed, or nothing where nothing is rendered."""

RenderItem = Callable[[Planned, Renderer], Outcome]


def dispatch(
    todo: Sequence[Planned], renderers: Sequence[Renderer], render: RenderItem
) -> Generator[tuple[Planned, Outcome], None, None]:
    """Yield every item of ``todo`` with its outcome, as it finishes.

    Several renderers work in threads. After a failure each finishes what it has begun, which is yielded too.
    Where the caller stops (Ctrl-C, a full disk), what is not finished at once is lost.

    Raises:
        HarnessError: bad input that only the loaded weights could show.
    """
    if len(renderers) == 1:
        return ((item, render(item, renderers[0])) for item in todo)
    return _in_threads(todo, renderers, render)


def chunks(todo: Sequence[Planned], renderers: int) -> list[list[Planned]]:
    """Split renders, in their order, into chunks that share weights."""
    size = ceil(len(todo) / (CHUNKS_PER_RENDERER * renderers)) if todo else 1
    found: list[list[Planned]] = []
    for item in todo:
        last = found[-1] if found else []
        if not last or len(last) == size or _weights(last[0]) != _weights(item):
            found.append([])
        found[-1].append(item)
    return found


def _in_threads(
    todo: Sequence[Planned], renderers: Sequence[Renderer], render: RenderItem
) -> Generator[tuple[Planned, Outcome], None, None]:
    remaining = deque(chunks(todo, len(renderers)))
    done: Queue[tuple[Planned, Outcome] | BaseException] = Queue()
    stop = threading.Event()

    def next_chunk() -> list[Planned]:
        try:
            return remaining.popleft()
        except IndexError:
            return []

    def work(renderer: Renderer) -> None:
        try:
            for chunk in iter(next_chunk, []):
                for item in chunk:
                    if stop.is_set():
                        return
                    done.put((item, render(item, renderer)))
        except BaseException as error:  # for the thread that waits
            done.put(error)

    threads = [threading.Thread(target=work, args=(renderer,), daemon=True) for renderer in renderers]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    patience: float | None = None
    try:
        for _ in todo:
            if isinstance(found := done.get(), BaseException):
                failure = found
                break
            yield found
    except (KeyboardInterrupt, GeneratorExit):
        patience = CTRL_C_SECONDS / len(threads)
        raise
    finally:
        stop.set()
        for thread in threads:
            thread.join(patience)
    if failure is not None:
        while not done.empty():
            if not isinstance(late := done.get(), BaseException):
                yield late
        raise failure


def _weights(item: Planned) -> tuple[str, ...]:
    assert item.request is not None
    return item.request.weights_key
