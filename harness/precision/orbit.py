"""Weights as the trainer's orbit quantizers store them, rotated or in the basis of the unquantized weight.

The input features are put into a random order, with random signs, and rotated in blocks. What is left of a
row beside its length is numbers about as a normal distribution has them: each is the nearest of a few.
Source: ``ostris/ai-toolkit`` 0.12.26, ``toolkit/util/orbit_quant.py``, after arXiv:2607.02461.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch.nn import functional

from harness.precision.codebook import nearest

SMALLEST_BLOCK = 32
"""Input features that are rotated together, at least: narrower layers stay unquantized."""
_SEED, _ITERATIONS, _LEAST = 0x0EB17, 200, 1e-10


class Order(NamedTuple):
    """What is done to so many input features before they are rotated: ``order`` chooses, ``back`` undoes."""

    order: torch.Tensor
    back: torch.Tensor
    signs: torch.Tensor


def block_of(width: int) -> int:
    """Return how many of ``width`` input features are rotated together: the largest power of two in it."""
    return width & -width


def can_turn(width: int) -> bool:
    """Whether the trainer quantizes a layer with so many input features."""
    return block_of(width) >= SMALLEST_BLOCK


def turned(rows: torch.Tensor) -> torch.Tensor:
    """Return ``rows``, … × in, reordered and rotated, in their own dtype."""
    order = order_of(rows.shape[-1], rows.device)
    return _rotated(rows.index_select(-1, order.order) * order.signs.to(rows.dtype))


def turned_back(rows: torch.Tensor) -> torch.Tensor:
    """Return what ``turned`` made these ``rows`` of."""
    order = order_of(rows.shape[-1], rows.device)
    return (_rotated(rows) * order.signs.to(rows.dtype)).index_select(-1, order.back)


def orbit(name: str, weight: torch.Tensor, lengths: torch.dtype) -> torch.Tensor:
    """Return what ``weight``, out × in, means as stored by ``name``, fp32; what cannot be turned stays.

    Args:
        lengths: dtype in which the length of each row is stored, the one of the layer.
    """
    wide = weight.float()
    if not can_turn(weight.shape[1]):
        return wide
    directions, of_rows = _parts(name, wide)
    return turned_back(directions * of_rows.to(lengths).float())


def stored_turned(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight``, out × in, as a layer multiplies with it, turned, in its dtype."""
    directions, lengths = _parts(name, weight.float())
    return directions.to(weight.dtype) * lengths.to(weight.dtype)


def _parts(name: str, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rounded directions of a turned weight, out × in, and its rows' lengths, out × 1, fp32."""
    rows = turned(weight)
    lengths = rows.norm(dim=1, keepdim=True)
    values = normal_levels(int(name.removeprefix("orbit"))) * weight.shape[1] ** -0.5
    between = (values[:-1] + values[1:]) / 2
    return nearest(rows / (lengths + _LEAST), values.tolist(), between.tolist()), lengths


@cache
def order_of(width: int, device: torch.device) -> Order:
    """Return the order and signs that every layer of this width has."""
    draws = torch.Generator().manual_seed(_SEED + width)
    order = torch.randperm(width, generator=draws)
    signs = torch.randint(0, 2, (width,), generator=draws, dtype=torch.int8) * 2 - 1
    return Order(order.to(device), order.argsort().to(device), signs.to(device))


@cache
def normal_levels(bits: int) -> torch.Tensor:
    """Return the numbers that stand for a standard normal distribution with the least squared error, fp32."""
    count = 2**bits
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    levels = math.sqrt(2) * torch.erfinv(2 * middles - 1)
    for _ in range(_ITERATIONS):
        ends = (levels[1:] + levels[:-1]) / 2
        density = functional.pad(torch.exp(-ends * ends / 2) / math.sqrt(2 * math.pi), (1, 1))
        below = 0.5 * (1 + torch.erf(functional.pad(ends, (1, 1), value=math.inf) / math.sqrt(2)))
        below[0] = 0
        levels = -density.diff() / below.diff()
    return levels.float()


def _rotated(rows: torch.Tensor) -> torch.Tensor:
    """Return ``rows`` with blocks of them multiplied with a Hadamard matrix, orthonormal: its own inverse.

    By sums and differences, each rounded to the dtype, in the order of the trainer's.
    """
    size, apart = block_of(rows.shape[-1]), 1
    made: torch.Tensor = rows.reshape(-1, size)
    while apart < size:
        left, right = made.view(len(made), -1, 2, apart).unbind(2)
        made = torch.stack((left + right, left - right), 2).view(len(made), size)
        apart *= 2
    return made.mul(size**-0.5).view(rows.shape)
