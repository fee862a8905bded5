"""Torch on one thread, so that the order of a sum does not depend on the machine's cores."""

from __future__ import annotations

from collections.abc import Iterator
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
