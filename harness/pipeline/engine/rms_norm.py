"""RMSNorm over a head's 128 values that sums in the order of eager's kernel: the same bits in less time.

Eager's kernel (``vectorized_layer_norm_kernel`` in PyTorch's ``layer_norm_kernel.cu``) takes a block of 128
threads for every row, of which 32 work. Here a program takes many rows. The order of a row's sum is eager's:
four neighbours by fused multiply-add, then 32 partial sums by halves.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

WIDTH = 128
ROWS = 16
PROOF_ROWS = 4096


@triton.jit  # type: ignore[untyped-decorator]
def _halves(sums, rows: tl.constexpr, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add the second half of every row to its first; rows × width to rows × width / 2."""
    return tl.sum(tl.reshape(sums, (rows, 2, width // 2)), axis=1)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(x_at, weight_at, out_at, count, eps, rows: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.arange(0, 128)
    place = row[:, None] * 128 + column[None, :]
    there = row[:, None] < count
    x = tl.load(x_at + place, mask=there, other=0.0).to(tl.float32)
    even, odd = tl.split(tl.reshape(x, (rows, 32, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    sums = tl.fma(fourth, fourth, tl.fma(third, third, tl.fma(second, second, first * first)))
    sums = _halves(_halves(_halves(sums, rows, 32), rows, 16), rows, 8)
    sums = _halves(_halves(sums, rows, 4), rows, 2)
    scale = tl.rsqrt(tl.reshape(sums, (rows, 1)) * (1 / 128) + eps)
    weight = tl.load(weight_at + column).to(tl.float32)[None, :]
    tl.store(out_at + place, (weight * (scale * x)).to(out_at.dtype.element_ty), mask=there)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return the root mean square norm of ``x``, … × 128, on CUDA; ``weight`` is 128 of the same dtype."""
    x = x.contiguous()
    out = torch.empty_like(x)
    count = x.numel() // WIDTH
    _kernel[(triton.cdiv(count, ROWS),)](x, weight, out, count, eps, rows=ROWS)
    return out


def can_stand_for_eager(x: Tensor, shape: list[int], weight: Tensor | None, eps: float | None) -> bool:
    """Say whether ``rms_norm`` takes these, and gives eager's bits on this GPU."""
    if weight is None or eps is None or shape != [WIDTH] or weight.dtype != x.dtype:
        return False
    return x.is_cuda and 0 < x.numel() < 2**31 and _proved(x.dtype, x.device, eps)


@cache
def _proved(dtype: torch.dtype, device: torch.device, eps: float) -> bool:
    """Compare both on random rows from 2⁻⁸ to 2⁸ in size; a kernel that does not compile proves nothing."""
    draw = torch.Generator(device).manual_seed(0)
    x = torch.randn(PROOF_ROWS, WIDTH, device=device, generator=draw)
    sizes = torch.linspace(-8, 8, PROOF_ROWS, device=device).exp2()[:, None]
    x, weight = (x * sizes).to(dtype), (x[0] + 1).to(dtype)
    try:
        return torch.equal(rms_norm(x, weight, eps), functional.rms_norm(x, (WIDTH,), weight, eps))
    except Exception:  # a compiler may raise anything; eager's kernel is there
        return False
