"""When Python's garbage collector runs: not while a pipeline is loaded, and not when the process ends.

It would scan every object that libraries and a pipeline create, again and again, and find none unused.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restore_collection() -> Iterator[None]:
    """Enable the collector at the end of the block where it was enabled at its start."""
    enabled = gc.isenabled()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def pause_collection() -> Iterator[None]:
    """Disable the collector within the block."""
    with restore_collection():
        gc.disable()
        yield
