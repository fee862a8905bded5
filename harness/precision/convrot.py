"""Weights as the trainer's convrot quantizers store them, in the basis of the unquantized weight.

Groups of input features are rotated, and what is rotated is rounded. A layer rotates its input likewise, so
that the rotated weight stands for the same product; it rounds the input too, which no weight tells.
Source: ``ostris/ai-toolkit`` 0.12.26, ``toolkit/util/convrot_quant.py``, after arXiv:2512.03673.
"""

from __future__ import annotations

import math
from functools import cache

import torch

from harness.precision.trainer_formats import nvfp4

LARGEST_ROTATION, SMALLEST_ROTATION = 256, 16
"""Input features that are rotated together: a power of four."""
GROUP = 128
"""Weights that share a scale, at most."""
_SHARES = torch.linspace(0.2, 1.0, 16, dtype=torch.float64).tolist()
"""Of the scale at which the largest weight of a group is the largest code: one of them fits best."""
_REFITS = 2
_BYTE = 127


def convrot(name: str, weight: torch.Tensor, largest: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``weight``, out × in, as the quantizer ``name`` stores it; as it is where that leaves its width.

    Args:
        largest: of the whole rotated weight, for convrot4; see ``largest_rotated``.
    """
    rotated = _rotated(weight)
    if rotated is None:
        return weight
    if name == "convrot8":
        made = _on_grid(rotated, _scale_of(rotated.abs().amax(1, keepdim=True) / _BYTE), _BYTE)
    elif name == "convrot4":
        made = nvfp4(rotated, rotated.abs().amax() if largest is None else largest)
    else:
        made = _grouped(rotated, 2 if name == "convrotbitnet" else int(name.removeprefix("convrotint")))
    back = _rotated(made)
    assert back is not None
    return back.to(weight.dtype)


def largest_rotated(weight: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value of a weight, out × in, once it is rotated."""
    rotated = _rotated(weight)
    return (weight if rotated is None else rotated).float().abs().amax()


def _rotated(weight: torch.Tensor) -> torch.Tensor | None:
    """Return a weight with its groups rotated, fp32; None where the trainer leaves it. Its own inverse."""
    width, size = weight.shape[1], 1
    while size < LARGEST_ROTATION and width % (4 * size) == 0:
        size *= 4
    if size < SMALLEST_ROTATION:
        return None
    parts = weight.float().reshape(len(weight), -1, size)
    return (parts @ rotation(size).to(weight.device)).reshape(weight.shape)


@cache
def rotation(size: int) -> torch.Tensor:
    """Return the regular Hadamard matrix, size × size, orthonormal: symmetric, each row with the same sum."""
    small = torch.ones(4, 4) - 2 * torch.eye(4).flip(0)
    made = torch.ones(1, 1)
    while len(made) < size:
        made = torch.kron(made, small)
    return made / math.sqrt(size)


def _grouped(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return ``weight`` as integers whose scales fit each group best, put on an 8-bit grid for each row."""
    most = 2 ** (bits - 1) - 1
    groups = weight.reshape(len(weight), -1, math.gcd(GROUP, weight.shape[1]))
    scale = _fitting_scale(groups, most)
    for _ in range(_REFITS):
        codes = _codes(groups, scale, most)
        above, below = (groups * codes).sum(-1, keepdim=True), codes.square().sum(-1, keepdim=True)
        scale = torch.where((below > 0) & (above > 0), above / below.clamp(min=1e-12), scale)
    row = _scale_of(scale.amax(1, keepdim=True) * (most / _BYTE))
    codes = _codes(groups, scale, most) * (scale / row)
    return (codes.round_().clamp_(-_BYTE, _BYTE) * row).reshape(weight.shape)


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
