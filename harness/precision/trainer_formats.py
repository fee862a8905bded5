"""The trainer's own formats, of which it computes the layer's product with the weights that the bits mean.

Source: ``ostris/ai-toolkit``, ``toolkit/util/uintx_quant.py`` and ``nvfp4_quant.py``. A rounded weight in the
place of the original renders the trainer's preview bit for bit.
"""

from __future__ import annotations

import torch

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

    The scale of a block is the best of nine. Rows that 16 does not divide are left as they are.

    Args:
        largest: the largest absolute value of the whole tensor.
    """
    if weight.shape[1] % NVFP4_BLOCK:
        return weight
    whole = largest.float() / (_E2M1[-1] * torch.finfo(E4M3).max)
    whole = torch.where(whole > 0, whole, torch.ones_like(whole))
    blocks = weight.float().reshape(weight.shape[0], -1, NVFP4_BLOCK)
    base = blocks.abs().amax(-1) / (_E2M1[-1] * whole)
    best = error = None
    for share in torch.linspace(0.70, 1.10, 9, dtype=torch.float64).tolist():
        scales = (base * share).to(E4M3)
        made = _e2m1(blocks, (scales.float() * whole).unsqueeze(-1))
        left = (blocks - made).square().sum(-1)
        better = torch.ones_like(left, dtype=torch.bool) if error is None else left < error
        error = left if error is None else torch.where(better, left, error)
        best = made if best is None else torch.where(better.unsqueeze(-1), made, best)
    assert best is not None
    return best.reshape(weight.shape).to(weight.dtype)


def _e2m1(blocks: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    values, between = torch.tensor(_E2M1, device=blocks.device), torch.tensor(_BETWEEN, device=blocks.device)
    parts = (blocks / torch.where(scale > 0, scale, torch.ones_like(scale))).clamp(-_E2M1[-1], _E2M1[-1])
    return values[torch.bucketize(parts.abs(), between)].copysign(parts) * scale
