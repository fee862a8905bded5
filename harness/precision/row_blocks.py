"""A module's weight in pieces of whole rows, read ahead by threads: memory is that of some pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from harness.errors import CheckpointError
from harness.precision.base_modules import ModuleWeight
from harness.precision.weights_file import read_rows

if TYPE_CHECKING:
    import torch

MAX_BLOCK = {"cpu": 1 << 21, "cuda": 1 << 24}
"""Weights in one piece, by the device that computes: what bounds the memory."""
READ_AHEAD = 6
"""Pieces that are read while one is computed."""
PLACES = 8
"""Places of a layer from which a sample of its rows is taken."""


def row_blocks(weight: ModuleWeight, rows: int | None, device: str) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield pieces of a weight on ``device``, each with the number of its first row.

    Weights that a file stores as float8 with a scale are returned as bf16, scaled.

    Args:
        rows: how many to read, evenly spread; None reads all.

    Raises:
        CheckpointError: the file cannot be read.
    """
    pieces = _pieces(weight.rows, rows, max(1, MAX_BLOCK[device] // weight.columns))
    scale = _scale(weight)
    with ThreadPoolExecutor(READ_AHEAD) as readers:
        reading: deque[tuple[int, Future[torch.Tensor]]] = deque()
        for start, stop in pieces:
            first = weight.first_row
            reading.append((start, readers.submit(read_rows, weight.stored, first + start, first + stop)))
            if len(reading) == READ_AHEAD:
                yield _ready(weight, scale, device, *reading.popleft())
        while reading:
            yield _ready(weight, scale, device, *reading.popleft())


def _ready(
    weight: ModuleWeight, scale: torch.Tensor | None, device: str, start: int, piece: Future[torch.Tensor]
) -> tuple[int, torch.Tensor]:
    import torch

    try:
        block = piece.result().to(device)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", file=weight.stored.file) from error
    if block.element_size() > 1:
        return start, block
    block = block.to(torch.bfloat16)
    if scale is None:
        return start, block
    own = scale if scale.numel() == 1 else scale[weight.first_row + start :][: len(block)]
    return start, (block.float() * own.to(device).reshape(-1, 1)).to(torch.bfloat16)


def _scale(weight: ModuleWeight) -> torch.Tensor | None:
    """Return the fp32 scale of a float8 weight: one number, or one for each row of the stored tensor."""
    if weight.scale is None:
        return None
    return read_rows(weight.scale, 0, weight.scale.shape[0] if weight.scale.shape else 1).float().flatten()


def _pieces(rows: int, wanted: int | None, size: int) -> list[tuple[int, int]]:
    """Return the rows to read, first and past the last, at most ``size`` in a piece."""
    if wanted is None or wanted >= rows:
        return [(start, min(start + size, rows)) for start in range(0, rows, size)]
    places = min(PLACES, wanted)
    each = min(wanted // places, size)
    return [(start, start + each) for start in (place * rows // places for place in range(places))]
