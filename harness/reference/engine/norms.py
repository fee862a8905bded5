"""LayerNorm and RMSNorm as operators that a compiler cannot look into: they run the eager kernel.

A compiler that fuses a norm sums in another order. Behind an opaque operator the sum stays eager's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

_LAYER_NORM = "(Tensor x, int[] shape, Tensor? weight, Tensor? bias, float eps) -> Tensor"
_RMS_NORM = "(Tensor x, int[] shape, Tensor? weight, float? eps) -> Tensor"


@torch.library.custom_op("harness::layer_norm", mutates_args=(), schema=_LAYER_NORM)
def layer_norm(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Return eager's layer norm of ``x``, contiguous."""
    return functional.layer_norm(x, shape, weight, bias, eps).contiguous()


@torch.library.custom_op("harness::rms_norm", mutates_args=(), schema=_RMS_NORM)
def rms_norm(x: Tensor, shape: list[int], weight: Tensor | None, eps: float | None) -> Tensor:
    """Return eager's root mean square norm of ``x``, contiguous."""
    return functional.rms_norm(x, shape, weight, eps).contiguous()


@layer_norm.register_fake
def _(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@rms_norm.register_fake
def _(x: Tensor, shape: list[int], weight: Tensor | None, eps: float | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def opaque_forward(module: torch.nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return a norm's forward through its opaque operator, or None for any other module."""
    if type(module) is torch.nn.LayerNorm:
        return partial(_layer_norm, module)
    if type(module) is torch.nn.RMSNorm:
        return partial(_rms_norm, module)
    return None


def _layer_norm(module: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    normed: Tensor = layer_norm(x, list(module.normalized_shape), module.weight, module.bias, module.eps)
    return normed


def _rms_norm(module: torch.nn.RMSNorm, x: Tensor) -> Tensor:
    normed: Tensor = rms_norm(x, list(module.normalized_shape), module.weight, module.eps)
    return normed
