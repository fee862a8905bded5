"""An RMSNorm over a head's 128 values that sums as eager's kernel does: the same bits, and how fast?

    python benchmarks/norms.py [--rows 110592]

Eager's kernel takes a block of 128 threads for every row of 128 values and one warp works: 7.7 of a 1024²
call's 112 ms on an H100. Here a program takes many rows. The order of its sum is eager's: four neighbours by
fused multiply-add, then 32 partial sums by halves. Exit code 1 where a bit differs. Not part of the engine.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
import triton
import triton.language as tl
from torch.nn import functional

WIDTH = 128
ROWS = 16
EPS = 1e-6


@triton.jit
def _halves(sums, rows: tl.constexpr, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add the second half of every row to its first; rows × width to rows × width / 2."""
    return tl.sum(tl.reshape(sums, (rows, 2, width // 2)), axis=1)


@triton.jit
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
    scale = tl.rsqrt(tl.reshape(sums, (rows, 1)) / 128 + eps)
    weight = tl.load(weight_at + column).to(tl.float32)[None, :]
    tl.store(out_at + place, (weight * (scale * x)).to(out_at.dtype.element_ty), mask=there)


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the root mean square norm of ``x``, rows × 128, bf16."""
    out = torch.empty_like(x)
    _kernel[(triton.cdiv(len(x), ROWS),)](x, weight, out, len(x), EPS, rows=ROWS)
    return out


def milliseconds(call: Any) -> float:
    """Return the median time of a call on the GPU."""
    times = []
    for _ in range(20):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def main() -> int:
    """Print whether the bits are eager's, and both times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4608 * 24, help="tokens × heads")
    rows = parser.parse_args().rows
    torch.manual_seed(0)
    x = torch.randn(rows, WIDTH, device="cuda").to(torch.bfloat16)
    weight = torch.rand(WIDTH, device="cuda").add(0.5).to(torch.bfloat16)
    eager, ours = functional.rms_norm(x, (WIDTH,), weight, EPS), rms_norm(x, weight)
    different = (eager != ours).float().mean().item()
    slow = milliseconds(lambda: functional.rms_norm(x, (WIDTH,), weight, EPS))
    fast = milliseconds(lambda: rms_norm(x, weight))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {rows} rows of {WIDTH}:")
    print(f"eager {slow * 1000:.0f} µs, ours {fast * 1000:.0f} µs; {different:.4%} of values differ")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
