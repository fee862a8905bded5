"""LayerNorm and RMSNorm as operators that a compiler cannot look into: they sum as the eager kernel does.

A compiler that fuses a norm sums in another order. Behind an opaque operator the sum stays eager's: by the
eager kernel itself, or by a faster one of the same order (``rms``) where Triton is there and both agree.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

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
    fast = _fast()
    if fast is not None and fast.can_stand_for_eager(x, shape, weight, eps):
        normed: Tensor = fast.rms_norm(x, weight, eps)
        return normed
    return functional.rms_norm(x, shape, weight, eps).contiguous()


@cache
def _fast() -> ModuleType | None:
    try:
        from harness.pipeline.engine import rms_norm as rms
    except ImportError:  # torch for CPUs comes without Triton
        return None
    return rms


@layer_norm.register_fake
def _(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@rms_norm.register_fake
def _(x: Tensor, shape: list[int], weight: Tensor | None, eps: float | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


class OpaqueLayerNorm(torch.nn.LayerNorm):
    """A layer norm whose forward is the opaque operator."""

    def forward(self, x: Tensor) -> Tensor:
        """Return eager's layer norm of ``x``."""
        normed: Tensor = layer_norm(x, list(self.normalized_shape), self.weight, self.bias, self.eps)
        return normed


class OpaqueRMSNorm(torch.nn.RMSNorm):
    """A root mean square norm whose forward is the opaque operator."""

    def forward(self, x: Tensor) -> Tensor:
        """Return eager's norm of ``x``."""
        normed: Tensor = rms_norm(x, list(self.normalized_shape), self.weight, self.eps)
        return normed


OPAQUE: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    torch.nn.LayerNorm: OpaqueLayerNorm,
    torch.nn.RMSNorm: OpaqueRMSNorm,
}
"""What a norm is made into while compiled blocks run: one class for all, or every block compiles anew."""
