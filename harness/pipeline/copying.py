"""Tensors copied through pinned buffers, several pieces at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice

import numpy as np
import torch
from torch import Tensor

PIECE = 32 << 20
"""Bytes that are copied at once."""

MAX_THREADS = 12
"""On an H200, 4, 8 and 12 threads read 26 GB from the page cache to the GPU in 1.9, 1.7 and 1.4 s."""


def copy_all(pairs: Iterable[tuple[Tensor, Tensor]], piece: int = PIECE) -> None:
    """Copy each first tensor, in main memory, to the second; both are contiguous, of one dtype and shape.

    Args:
        piece: bytes that a thread copies at once.
    """
    pieces = list(_pieces(pairs, piece))
    if not pieces:
        return
    on_gpu = pieces[0][1].is_cuda
    if on_gpu:
        torch.cuda.current_stream().synchronize()  # memory that was used before may still be written to
    threads = min(MAX_THREADS, os.cpu_count() or 1, len(pieces))

    def work(number: int) -> None:
        buffer = torch.empty(piece, dtype=torch.uint8, pin_memory=on_gpu)
        stream = torch.cuda.Stream() if on_gpu else None  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream) if stream is not None else nullcontext():
            for source, there in islice(pieces, number, None, threads):
                held = buffer[: source.numel()]
                np.copyto(held.numpy(), source.numpy())  # without the interpreter's lock
                there.copy_(held, non_blocking=True)
                if stream is not None:
                    stream.synchronize()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def _pieces(pairs: Iterable[tuple[Tensor, Tensor]], piece: int) -> Iterator[tuple[Tensor, Tensor]]:
    for source, there in pairs:
        bytes_of = (tensor.detach().reshape(-1).view(torch.uint8) for tensor in (source, there))
        yield from zip(*(data.split(piece) for data in bytes_of), strict=True)  # type: ignore[no-untyped-call]
