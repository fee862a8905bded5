"""Weights as float8: cast, scaled, and rounded at random. Each function returns what the stored bits mean."""

from __future__ import annotations

import torch

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
MANTISSA_BITS, MIN_EXPONENT = 3, -6
"""Of float8 e4m3fn; numbers below 2 to the smallest exponent are evenly spaced."""


def cast(weight: torch.Tensor, dtype: torch.dtype = E4M3) -> torch.Tensor:
    """Return ``weight`` cast to a float8 type and back to its own; torch rounds to nearest, ties to even."""
    largest = torch.finfo(dtype).max
    return weight.clamp(-largest, largest).to(dtype).to(weight.dtype)


def scaled(weight: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return ``weight`` as float8 e4m3fn, with ``largest`` at the type's own largest number.

    Args:
        weight: out × in.
        largest: absolute values, of the whole tensor or, out × 1, of each row.
    """
    scale = (largest.float() / torch.finfo(E4M3).max).clamp(min=1e-12)
    return (cast(weight.float() / scale) * scale).to(weight.dtype)


def stochastic(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return ``weight`` as float8 e4m3fn, rounded up as often as it is near the upper number.

    ComfyUI merges a LoRA into float8 weights so, from half precision and with a seed from the name of each
    weight: about the same chances, with other random numbers. Source: ComfyUI, ``comfy/float.py``.
    """
    size = weight.float().abs()
    exponent = (torch.frexp(size).exponent - 1).clamp(min=MIN_EXPONENT)
    step = torch.ldexp(torch.ones_like(size), exponent - MANTISSA_BITS)
    random = torch.rand(size.shape, generator=generator, device=size.device)
    rounded = (size / step + random).floor() * step
    return cast(rounded.copysign(weight.float())).to(weight.dtype)
