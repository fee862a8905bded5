"""Weights as the trainer's convrot quantizers store them, rotated or in the basis of the unquantized weight.

Groups of input features are rotated, and what is rotated is rounded. A layer rotates its input likewise, so
that the rotated weight stands for the same product: ``harness.precision.convrot_layers``.
Source: ``ostris/ai-toolkit`` 0.12.26, ``toolkit/util/convrot_quant.py``, after arXiv:2512.03673.
"""

from __future__ import annotations

import math
from functools import cache

import torch

from harness.precision.trainer_formats import nvfp4
from harness.schema.quantizers import ACTIVATIONS_LEFT

LARGEST_ROTATION, SMALLEST_ROTATION = 256, 16
"""Input features that are rotated together: a power of four."""
GROUP = 128
"""Weights that share a scale, at most."""
_SHARES = torch.linspace(0.2, 1.0, 16, dtype=torch.float64).tolist()
"""Of the scale at which the largest weight of a group is the largest code: one of them fits best."""
_REFITS = 2
_BITS, _BYTE = 8, 127


def convrot(name: str, weight: torch.Tensor, largest: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``weight``, out × in, as the quantizer ``name`` stores it; as it is where that leaves its width.

    Args:
        largest: of the whole rotated weight, for convrot4; see ``largest_rotated``.
    """
    if not can_rotate(weight.shape[1]):
        return weight
    turned = rotated(weight.float())
    if bits_of(name) is None:
        made = nvfp4(turned, turned.abs().amax() if largest is None else largest)
    else:
        codes, scale = row_codes(name, turned)
        made = codes * scale
    return rotated(made).to(weight.dtype)


def largest_rotated(weight: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value of a weight, out × in, once it is rotated."""
    wide = weight.float()
    return (rotated(wide) if can_rotate(weight.shape[1]) else wide).abs().amax()


def bits_of(name: str) -> int | None:
    """Return how many bits an integer has in a quantizer; None for convrot4, which has floats."""
    digits = name.removesuffix(ACTIVATIONS_LEFT).removeprefix("convrot").removeprefix("int")
    return None if name.startswith("convrot4") else 2 if digits == "bitnet" else int(digits)


def row_codes(name: str, turned: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a rotated weight as 8-bit integers, out × in, and their scale, out × 1, both fp32.

    Fewer bits are integers whose scales fit each group best, put on an 8-bit grid for each row.
    """
    bits = bits_of(name)
    assert bits is not None
    return byte_rows(turned) if bits == _BITS else _grouped(turned, bits)


def byte_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as integers from -127 to 127 and the scale of each, rows × 1, both fp32."""
    scale = _scale_of(rows.float().abs().amax(1, keepdim=True) / _BYTE)
    return _codes(rows.float(), scale, _BYTE), scale


def can_rotate(width: int) -> bool:
    """Whether the trainer rotates so many input features; others it leaves unquantized."""
    return width % SMALLEST_ROTATION == 0


def rotated(rows: torch.Tensor) -> torch.Tensor:
    """Return ``rows``, … × in, with their groups rotated, in their own dtype. Its own inverse."""
    width, size = rows.shape[-1], SMALLEST_ROTATION
    while size < LARGEST_ROTATION and width % (4 * size) == 0:
        size *= 4
    parts = rows.reshape(-1, width // size, size)
    return torch.matmul(parts, _rotation_like(size, rows.device, rows.dtype)).reshape(rows.shape)


@cache
def _rotation_like(size: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return rotation(size).to(device, dtype)


@cache
def rotation(size: int) -> torch.Tensor:
    """Return the regular Hadamard matrix, size × size, orthonormal: symmetric, each row with the same sum."""
    small = torch.ones(4, 4) - 2 * torch.eye(4).flip(0)
    made = torch.ones(1, 1)
    while len(made) < size:
        made = torch.kron(made, small)
    return made / math.sqrt(size)


def _grouped(weight: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    most = 2 ** (bits - 1) - 1
    groups = weight.reshape(len(weight), -1, math.gcd(GROUP, weight.shape[1]))
    scale = _fitting_scale(groups, most)
    for _ in range(_REFITS):
        codes = _codes(groups, scale, most)
        above, below = (groups * codes).sum(-1, keepdim=True), codes.square().sum(-1, keepdim=True)
        scale = torch.where((below > 0) & (above > 0), above / below.clamp(min=1e-12), scale)
    row = _scale_of(scale.amax(1, keepdim=True) * (most / _BYTE))
    codes = _codes(groups, scale, most) * (scale / row)
    return codes.round_().clamp_(-_BYTE, _BYTE).reshape(weight.shape), row.squeeze(-1)


def _fitting_scale(groups: torch.Tensor, most: int) -> torch.Tensor:
    """Return the scale of the least squared error for each group, of a few."""
    largest = _scale_of(groups.abs().amax(-1, keepdim=True))
    best: torch.Tensor | None = None
    error: torch.Tensor | None = None
    for share in _SHARES:
        scale = largest * (share / most)
        left = (groups - _on_grid(groups, scale, most)).square_().sum(-1, keepdim=True)
        better = torch.ones_like(left, dtype=torch.bool) if error is None else left < error
        error = left if error is None else torch.where(better, left, error)
        best = scale if best is None else torch.where(better, scale, best)
    assert best is not None
    return best


def _on_grid(weight: torch.Tensor, scale: torch.Tensor, most: int) -> torch.Tensor:
    return _codes(weight, scale, most).mul_(scale)


def _codes(weight: torch.Tensor, scale: torch.Tensor, most: int) -> torch.Tensor:
    codes: torch.Tensor = weight / scale
    return codes.round_().clamp_(-most, most)


def _scale_of(scale: torch.Tensor) -> torch.Tensor:
    """Return ``scale``, and 1 where it is 0."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))
