"""K-quants of GGUF files: 256 weights share one or two fp16 numbers, and groups of them a scale of few bits.

What is returned is what the stored bits mean, and these are the ones that ggml stores on x86-64, where its
builds fuse no product with a sum. Source: ggml 0.13.1, ``ggml-quants.c``, without an importance matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from harness.precision.k_quant_search import affine, first_largest, fraction, refined, symmetric

BLOCK = 256
"""Weights of a block. Rows are whole blocks."""
PIECE = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Weights that are rounded at a time, by device."""


@dataclass(frozen=True)
class KQuant:
    """One type.

    Attributes:
        group: weights that share a scale.
        codes: smallest and largest code of a weight.
        scales: smallest and largest code of a scale.
        search: returns the scale of each group, and minus its minimum where the type stores minima.
    """

    group: int
    codes: tuple[int, int]
    scales: tuple[int, int]
    search: Callable[[torch.Tensor], torch.Tensor | tuple[torch.Tensor, torch.Tensor]]


K_QUANTS = {
    "Q2_K": KQuant(16, (0, 3), (0, 15), partial(affine, levels=3, first=-0.5, steps=15, absolute=True)),
    "Q3_K": KQuant(16, (-4, 3), (-32, 31), partial(refined, levels=4)),
    "Q4_K": KQuant(32, (0, 15), (0, 63), partial(affine, levels=15, first=-1.0, steps=20)),
    "Q5_K": KQuant(32, (0, 31), (0, 63), partial(affine, levels=31, first=-0.5, steps=15)),
    "Q6_K": KQuant(16, (-32, 31), (-128, 127), partial(symmetric, levels=32)),
}


def type_of(name: str) -> str:
    """Return the type, as ``Q4_K``, of a quantizer, as ``gguf_q4_k``; of a mixture the one of most layers."""
    return name.removeprefix("gguf_").removesuffix("_m").upper()


def k_quant(weight: torch.Tensor, name: str, unpacked_in: torch.dtype = torch.float32) -> torch.Tensor:
    """Return ``weight``, out × in, as a GGUF file stores it in the type ``name``, in its dtype.

    Rows that are no whole blocks are stored as F16, as ComfyUI-GGUF's llama-quantize does.

    Args:
        unpacked_in: dtype that every step of the unpacking is rounded to; fp32 gives what the bits mean.
    """
    if weight.shape[1] % BLOCK:
        return weight.half().to(weight.dtype)
    made = torch.empty_like(weight)
    rows = max(1, PIECE.get(weight.device.type, PIECE["cpu"]) // weight.shape[1])
    for start in range(0, len(weight), rows):
        piece = weight[start : start + rows]
        made[start : start + rows] = _stored(piece.float(), K_QUANTS[name], unpacked_in).view(piece.shape)
    return made


def _stored(weight: torch.Tensor, kind: KQuant, unpacked_in: torch.dtype) -> torch.Tensor:
    x = weight.reshape(-1, kind.group).T.contiguous()
    found = kind.search(x)
    scale, minimum = found if isinstance(found, tuple) else (found, None)
    steps = _few_bits(scale, kind)
    offsets = FewBits(*map(torch.zeros_like, steps)) if minimum is None else _few_bits(minimum, kind)
    step, offset = (each.unpacked(torch.float32) for each in (steps, offsets))
    codes = (x + offset).div_(step.where(step != 0, torch.ones_like(step))).round_().clamp_(*kind.codes)
    step, offset = (each.unpacked(unpacked_in) for each in (steps, offsets))
    return codes.to(unpacked_in).mul_(step).sub_(offset).T.contiguous()


class FewBits(NamedTuple):
    """Scales, or minima, as they are stored: an fp16 number for each block times a code for each group."""

    unit: torch.Tensor
    codes: torch.Tensor

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """Return one number for each group, with both factors and their product rounded to ``dtype``."""
        return (self.unit.to(dtype) * self.codes.to(dtype)).view(-1)


def _few_bits(scales: torch.Tensor, kind: KQuant) -> FewBits:
    """Return scales, or minima, as they are stored.

    The largest of a block has the largest code, or of signed ones the smallest.
    """
    blocks = scales.view(-1, BLOCK // kind.group)
    low, high = kind.scales
    if low < 0:
        largest = first_largest(blocks.T)[:, None]
        inverse = fraction(low, largest)
        unit = fraction(1, inverse)
    else:
        largest = blocks.amax(1, keepdim=True).clamp_(min=0)
        inverse = fraction(high, largest)
        unit = largest / torch.full_like(largest, high)
    zeros = torch.zeros_like(largest)
    codes = (blocks * inverse.where(largest != 0, zeros)).nan_to_num_().round_().clamp_(low, high)
    return FewBits(unit.where(largest != 0, zeros).half(), codes)
