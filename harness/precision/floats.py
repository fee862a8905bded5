"""Weights as float8: cast, scaled, and rounded at random. Each function returns what the stored bits mean."""

from __future__ import annotations

import torch

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
_BITS = {E4M3: (3, -6), E5M2: (2, -14)}
"""Mantissa bits and smallest exponent; numbers below 2 to that are evenly spaced."""


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
    scale = scale_of(largest)
    return (cast(weight.float() / scale) * scale).to(weight.dtype)


def scale_of(largest: torch.Tensor) -> torch.Tensor:
    """Return the fp32 scale that puts ``largest`` at float8 e4m3fn's largest number."""
    return (largest.float() / torch.finfo(E4M3).max).clamp(min=1e-12)


def stochastic(weight: torch.Tensor, generator: torch.Generator, dtype: torch.dtype = E4M3) -> torch.Tensor:
    """Return ``weight`` as a float8 type, rounded up as often as it is near the upper number.

    ComfyUI merges a LoRA into float8 weights so, from half precision and with a seed from the name of each
    weight: about the same chances, with other random numbers. Source: ComfyUI, ``comfy/float.py``.
    """
    mantissa, smallest = _BITS[dtype]
    size = weight.float().abs()
    exponent = (torch.frexp(size).exponent - 1).clamp(min=smallest)
    step = torch.ldexp(torch.ones_like(size), exponent - mantissa)
    random = torch.rand(size.shape, generator=generator, device=size.device)
    rounded = (size / step + random).floor() * step
    return cast(rounded.copysign(weight.float()), dtype).to(weight.dtype)
