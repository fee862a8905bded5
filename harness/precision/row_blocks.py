"""Weights in pieces of whole rows, read ahead by threads across modules: memory is that of some pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from harness.errors import CheckpointError
from harness.precision.base_modules import ModuleWeight
from harness.precision.weights_file import read_rows

if TYPE_CHECKING:
    import torch

MAX_BLOCK = {"cpu": 1 << 21, "cuda": 1 << 24}
"""Weights in one piece, by the device that computes: what bounds the memory."""
READERS, READ_AHEAD = 4, 8
"""Threads that read, and pieces that are read while one is computed."""
PLACES = 8
"""Places of a layer from which a sample of its rows is taken."""

Key = TypeVar("Key")


def row_blocks(
    weights: Iterable[tuple[Key, ModuleWeight]], rows: int | None, device: str
) -> Iterator[tuple[Key, int, torch.Tensor]]:
    """Yield pieces of weights on ``device``, each with its weight's key and the number of its first row.

    Weights that a file stores as float8 are returned as bf16, scaled where they have a scale.

    Args:
        rows: how many of each weight to read, evenly spread; None reads all.

    Raises:
        CheckpointError: a file cannot be read.
    """
    reading: deque[tuple[Key, int, Future[torch.Tensor]]] = deque()
    with ThreadPoolExecutor(READERS) as readers:
        for key, weight in weights:
            scale = _scale(weight)
            for start, stop in _pieces(weight.rows, rows, max(1, MAX_BLOCK[device] // weight.columns)):
                reading.append((key, start, readers.submit(_load, weight, scale, start, stop, device)))
                if len(reading) == READ_AHEAD:
                    key_of_first, first, piece = reading.popleft()
                    yield key_of_first, first, piece.result()
        while reading:
            key_of_first, first, piece = reading.popleft()
            yield key_of_first, first, piece.result()


def _load(
    weight: ModuleWeight, scale: torch.Tensor | None, start: int, stop: int, device: str
) -> torch.Tensor:
    import torch

    try:
        block = read_rows(weight.stored, weight.first_row + start, weight.first_row + stop).to(device)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", file=weight.stored.file) from error
    if block.element_size() > 1:
        return block
    if scale is None:
        return block.to(torch.bfloat16)
    own = scale if scale.numel() == 1 else scale[weight.first_row + start : weight.first_row + stop]
    return (block.float() * own.to(device).reshape(-1, 1)).to(torch.bfloat16)


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
