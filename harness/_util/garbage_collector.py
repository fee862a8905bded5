"""When Python looks for garbage: not while what stays is being made, and not when the process ends.

It looks through every object that libraries and a pipeline have made, again and again while they are made,
and finds none of them unused.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collecting_again() -> Iterator[None]:
    """Let Python's garbage collector run afterwards, if it runs now, whatever stops it in between."""
    running = gc.isenabled()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def no_collecting() -> Iterator[None]:
    """Let Python's garbage collector rest; one that rests already goes on to."""
    with collecting_again():
        gc.disable()
        yield


def collect_for_the_last_time() -> None:
    """Collect now, and let the process end without looking through what is left; see ``collect_again``."""
    gc.collect()
    gc.freeze()


def collect_again() -> None:
    """Let a process that did not end look through everything again."""
    gc.unfreeze()
