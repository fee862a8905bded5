"""Torch on one thread, so that no sum's order depends on the machine's cores; other threads beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Sum in one order: the number of a machine's cores would show in the last bits otherwise.

    Threads that begin inside sum on one thread too.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side() -> ThreadPoolExecutor:
    """Return as many threads as there are cores, two at least.

    One of them waits for the process of FLIP, which has a core to itself then; more would take turns with it,
    and throw each other's arrays out of the caches. What they use is imported here: two threads that import a
    library at once may each get half of it.
    """
    import_libraries()
    return ThreadPoolExecutor(max(2, os.cpu_count() or 2))


def import_libraries() -> None:
    """Import what the threads of ``side_by_side`` use."""
    import scipy.ndimage  # noqa: F401
    from skimage.metrics import peak_signal_noise_ratio  # noqa: F401
