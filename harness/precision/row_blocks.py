"""A weight in pieces of whole rows, read when asked for: memory is that of one piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.errors import CheckpointError
from harness.precision.base_modules import ModuleWeight
from harness.precision.read_ahead import Extent
from harness.precision.weights_file import read_rows

if TYPE_CHECKING:
    import torch

MAX_BLOCK = {"cpu": 1 << 19, "cuda": 1 << 23}
"""Weights in one piece, by the device that computes: they bound the memory.

On the CPU they should fit its caches; but after each step a thread waits for the interpreter, which among
sixteen of them takes as long as a step on half as many weights.
"""
PLACES = 8
"""Places of a layer from which a sample of its rows is taken."""


def row_blocks(weight: ModuleWeight, rows: int | None, device: str) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield pieces of a weight on ``device``, each with the number of its first row.

    Weights that a file stores as float8 are returned as bf16, scaled where they have a scale; a GGUF's blocks
    in fp32.

    Args:
        rows: how many to read, evenly spread; None reads all.

    Raises:
        CheckpointError: the file cannot be read.
    """
    scale = _scale(weight)
    size = max(1, MAX_BLOCK[device] // weight.columns)
    for first, past in _runs(weight.rows, rows):
        for start in range(first, past, size):
            yield start, _load(weight, scale, start, min(start + size, past), device)


def extents(weight: ModuleWeight, rows: int | None) -> Iterator[Extent]:
    """Yield the bytes that ``row_blocks`` reads of the weight's file; none where it will refuse its dtype."""
    width = weight.stored.row_bytes
    for first, past in _runs(weight.rows, rows) if width else ():
        begin, end = (weight.stored.begin + (weight.first_row + row) * width for row in (first, past))
        yield Extent(weight.stored.file, begin, end)


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


def _runs(rows: int, wanted: int | None) -> list[tuple[int, int]]:
    """Return the rows to read, first and past the last, in runs of neighbours."""
    if wanted is None or wanted >= rows:
        return [(0, rows)]
    places = min(PLACES, wanted)
    return [
        (start, start + wanted // places) for start in (place * rows // places for place in range(places))
    ]
