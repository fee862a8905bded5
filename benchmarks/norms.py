"""RMSNorm over a head's 128 values, the engine's kernel against eager's: the same bits, and how fast?

    python benchmarks/norms.py [--rows 110592] [--dtype bfloat16]

For CUDA. Exit code 1 where a bit differs.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional
from triton.testing import do_bench

from harness.pipeline.engine.rms_norm import WIDTH, rms_norm

EPS = 1e-6


def main() -> int:
    """Print whether the bits are eager's, and both times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4608 * 24, help="tokens × heads")
    parser.add_argument("--dtype", default="bfloat16")
    given = parser.parse_args()
    torch.manual_seed(0)
    dtype = getattr(torch, given.dtype)
    x = torch.randn(given.rows, WIDTH, device="cuda").to(dtype)
    weight = torch.rand(WIDTH, device="cuda").add(0.5).to(dtype)
    eager, ours = functional.rms_norm(x, (WIDTH,), weight, EPS), rms_norm(x, weight, EPS)
    different = (eager != ours).float().mean().item()
    slow = do_bench(lambda: functional.rms_norm(x, (WIDTH,), weight, EPS), return_mode="median")
    fast = do_bench(lambda: rms_norm(x, weight, EPS), return_mode="median")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {given.rows} rows of {WIDTH}:")
    print(f"eager {slow * 1000:.0f} µs, ours {fast * 1000:.0f} µs; {different:.4%} of values differ")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
