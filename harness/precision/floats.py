"""Weights as float8: cast, scaled, and rounded at random. Each function returns what the stored bits mean."""

from __future__ import annotations

import torch

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
_BITS = {E4M3: (3, -6), E5M2: (2, -14)}
"""Mantissa bits and smallest exponent; numbers below 2 to that are evenly spaced."""

_EXPONENT = 0x7F800000
"""The bits of an fp32 number's exponent: alone they are the power of two at or below its size."""
_TO_WHOLE = 1.5 * 2.0**23
"""Beside it fp32 holds whole numbers only: adding it rounds to the nearest, ties to even."""


def cast(weight: torch.Tensor, dtype: torch.dtype = E4M3) -> torch.Tensor:
    """Return ``weight`` cast to a float8 type and back to its own: to nearest, ties to even, no infinity.

    Torch's own cast has the same bits, and takes five times as long on the CPU.
    """
    largest = torch.finfo(dtype).max
    wanted = weight.float().clamp(-largest, largest)
    towards = _steps(wanted, dtype, _TO_WHOLE)
    return (wanted + towards).sub_(towards).copysign_(wanted).to(weight.dtype)


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
    most = torch.full((), torch.finfo(E4M3).max, device=largest.device)  # CUDA divides otherwise by a number
    return (largest.float() / most).clamp(min=1e-12)


def stochastic(weight: torch.Tensor, random: torch.Tensor, dtype: torch.dtype = E4M3) -> torch.Tensor:
    """Return ``weight`` as a float8 type, rounded up as often as it is near the upper number.

    ComfyUI merges a LoRA into float8 weights so, from half precision and with a seed from the name of each
    weight: about the same chances, with other random numbers. Source: ComfyUI, ``comfy/float.py``.

    Args:
        random: numbers from 0 to below 1, fp32, of the shape of ``weight``.
    """
    wanted, largest = weight.float(), torch.finfo(dtype).max
    step = _steps(wanted, dtype, 1)
    rounded = wanted.abs().div_(step).add_(random).floor_().mul_(step)
    return rounded.clamp_(max=largest).copysign_(wanted).to(weight.dtype)


def _steps(numbers: torch.Tensor, dtype: torch.dtype, count: float) -> torch.Tensor:
    """Return ``count`` times how far apart a float8 type's numbers are at each of ``numbers``, fp32."""
    mantissa, smallest = _BITS[dtype]
    power = numbers.view(torch.int32).bitwise_and(_EXPONENT).view(torch.float32)
    return power.clamp_(min=2.0**smallest).mul_(count * 2.0**-mantissa)
