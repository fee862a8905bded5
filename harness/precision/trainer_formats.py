"""The trainer's own formats, of which it computes the layer's product with the weights that the bits mean.

Source: ``ostris/ai-toolkit``, ``toolkit/util/uintx_quant.py`` and ``nvfp4_quant.py``. A rounded weight in the
place of the original renders the trainer's preview bit for bit.
"""

from __future__ import annotations

import torch

from harness.precision.codebook import nearest
from harness.precision.floats import E4M3

GROUP, NVFP4_BLOCK = 64, 16
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_BETWEEN = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)


def uint(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return ``weight``, out × in, as ``bits``-bit integers with scale and zero point for 64 weights.

    All in the weight's own dtype, in the trainer's order: fp32 would round otherwise. 8 bits, and rows that
    64 does not divide, are left as they are.
    """
    if bits == 8 or weight.shape[1] % GROUP:
        return weight
    largest = 2**bits - 1
    groups = weight.reshape(weight.shape[0], -1, GROUP)
    low = groups.amin(2, keepdim=True).clamp(max=0)
    high = groups.amax(2, keepdim=True).clamp(min=0)
    scale = ((high - low) / float(largest)).clamp(min=torch.finfo(torch.float32).eps)
    zero = (-torch.round(low / scale)).clamp(0, largest)
    codes = (torch.round(groups * (1.0 / scale)) + zero).clamp(0, largest)
    return ((codes - zero) * scale).reshape(weight.shape)


def nvfp4(weight: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return ``weight``, out × in, as fp4 e2m1 with a float8 scale for 16 weights and an fp32 one for all.

    Rows that 16 does not divide are left as they are.

    Args:
        largest: the largest absolute value of the whole tensor.
    """
    if weight.shape[1] % NVFP4_BLOCK:
        return weight
    codes, scales, whole = nvfp4_parts(weight, largest)
    return (codes * (scales * whole)).reshape(weight.shape).to(weight.dtype)


def nvfp4_parts(
    weight: torch.Tensor, largest: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes, out × in/16 × 16, scales, out × in/16 × 1, and the scale of the whole ``weight``.

    The scale of a block is the best of nine.
    """
    whole = largest.float() / (_E2M1[-1] * torch.finfo(E4M3).max)
    whole = torch.where(whole > 0, whole, torch.ones_like(whole))
    blocks = weight.float().reshape(weight.shape[0], -1, NVFP4_BLOCK)
    base = blocks.abs().amax(-1, keepdim=True) / (_E2M1[-1] * whole)
    best: tuple[torch.Tensor, torch.Tensor] | None = None
    error = torch.full_like(base, torch.inf)
    for share in torch.linspace(0.70, 1.10, 9, dtype=torch.float64).tolist():
        scales = (base * share).to(E4M3).float()
        codes = _e2m1(blocks, scales * whole)
        left = (blocks - codes * (scales * whole)).square().sum(-1, keepdim=True)
        if best is not None:
            codes = torch.where(left < error, codes, best[0])
            scales = torch.where(left < error, scales, best[1])
        best, error = (codes, scales), torch.minimum(left, error)
    assert best is not None
    return *best, whole


def nvfp4_rows(rows: torch.Tensor) -> torch.Tensor:
    """Return activations, rows × in, as fp4 e2m1 with a float8 scale for 16 of them, in their own dtype.

    Every product of a code and a scale is a number of 16 bits. 16 divides the width.
    """
    blocks = rows.float().reshape(len(rows), -1, NVFP4_BLOCK)
    base = blocks.abs().amax(-1, keepdim=True) / _E2M1[-1]
    scales = base.clamp(max=torch.finfo(E4M3).max).to(E4M3).float()
    return (_e2m1(blocks, scales) * scales).reshape(rows.shape).to(rows.dtype)


def _e2m1(blocks: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the number of fp4 that is nearest to each of ``blocks`` in steps of ``scale``."""
    parts = (blocks / torch.where(scale > 0, scale, torch.ones_like(scale))).clamp(-_E2M1[-1], _E2M1[-1])
    return nearest(parts.abs(), _E2M1, _BETWEEN).copysign(parts)
