"""The first latents: what torch draws on the CPU from a seed, in either of its two eras.

Up to 2.11, torch drew bf16 and fp16 noise by Box-Muller in that dtype; from 2.12 on it casts a fp32 draw.
The two are uncorrelated: one seed gives two pictures. Either era is drawn here under any torch.
Source: measured on torch 2.9.1 (``tests/data/noise``) and on the torch that runs the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.schema.versions import Era

if TYPE_CHECKING:
    import torch

BLOCK = 16


@cache
def torch_era() -> Era:
    """Return which noise the installed torch draws on the CPU in bf16, by drawing some.

    torch 2.12 casts all but 1 value in 10 000 as later ones do, so the majority decides.
    """
    import torch

    equal = _native(1024, 0, torch.bfloat16) == _native(1024, 0, torch.float32).to(torch.bfloat16)
    return "current" if equal.float().mean() > 0.9 else "legacy"


def draw(shape: Sequence[int], seed: int, dtype: torch.dtype, era: Era) -> torch.Tensor:
    """Return standard normal noise on the CPU, as ``torch.randn`` of that era draws it from ``seed``.

    Args:
        shape: any; a render's latents are (1, 16, H/8, W/8), packed afterwards.
        seed: as ``torch.Generator.manual_seed`` takes it; torch uses its low 32 bits.
        dtype: bf16 and fp16 differ between eras, wider dtypes do not.
        era: ``legacy`` (torch up to 2.11) or ``current``.

    Returns:
        Noise of ``shape`` and ``dtype``, equal bit for bit to the era's own draw.
    """
    return _drawn(math.prod(shape), seed, dtype, era).clone().reshape(tuple(shape))


@lru_cache(maxsize=8)
def _drawn(size: int, seed: int, dtype: torch.dtype, era: Era) -> torch.Tensor:
    """Return what ``draw`` does, flat; the last are kept: a diagnosis renders one seed many times."""
    import torch

    if dtype not in {torch.bfloat16, torch.float16}:
        return _native(size, seed, dtype)
    if size < BLOCK:
        return _native(size, seed, torch.float32).to(dtype)
    return (_legacy if era == "legacy" else _current)(size, seed, dtype)


def _native(size: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    import torch

    return torch.randn(size, generator=torch.Generator("cpu").manual_seed(seed), dtype=dtype)


def _current(size: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Cast a fp32 draw; a ragged ``size`` takes its last 16 values from the next whole block of 16."""
    import torch

    whole = size - size % BLOCK
    noise = _native(whole + BLOCK, seed, torch.float32).to(dtype)
    return noise[:size] if whole == size else torch.cat([noise[: size - BLOCK], noise[whole:]])


def _legacy(size: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Draw whole blocks of 16; a ragged ``size`` takes its last 16 values from 16 fresh integers."""
    import torch

    mersenne: Any = np.random.MT19937()
    mersenne._legacy_seeding(seed & 0xFFFFFFFF)
    raw = mersenne.random_raw(size + BLOCK)
    whole = size - size % BLOCK
    noise = _box_muller(raw[:whole], dtype)
    return noise if whole == size else torch.cat([noise[: size - BLOCK], _box_muller(raw[size:], dtype)])


def _box_muller(raw: NDArray[np.uint64], dtype: torch.dtype) -> torch.Tensor:
    """Turn 32-bit integers, a multiple of 16, into normals; every operation is rounded to ``dtype``.

    In a block of 16 the first 8 integers give the radii and the last 8 the angles.
    """
    import torch

    radius, *waves = _tables(dtype)
    place = (raw.astype(np.uint16) & (len(radius) - 1)).reshape(-1, 2, BLOCK // 2)
    halves = np.empty(place.shape, np.float32)
    radii = radius.take(place[:, 0])
    for half, wave in enumerate(waves):
        np.multiply(radii, wave.take(place[:, 1]), out=halves[:, half])  # exact in fp32
    return (torch.from_numpy(halves).to(dtype) + 0.0).flatten()


@cache
def _tables(dtype: torch.dtype) -> tuple[NDArray[np.float32], ...]:
    """Return radius, cosine and sine of every uniform: a dtype of d significant bits has 2^d of them."""
    import torch

    levels = round(2 / torch.finfo(dtype).eps)
    uniform = torch.arange(levels, dtype=torch.float64) / levels

    def rounded(exact: torch.Tensor) -> torch.Tensor:
        return exact.to(dtype).double()

    radius = rounded((rounded(-2 * rounded((1 - uniform).log()))).sqrt())
    angle = rounded(2 * math.pi * uniform)
    return tuple(rounded(each).float().numpy() for each in (radius, angle.cos(), angle.sin()))
