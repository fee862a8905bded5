"""How fast weights are rounded as GGUF's K-quants, and how much memory that takes beside them.

python benchmarks/k_quants.py                       one layer of Flex.2, on the CPU, with one thread
python benchmarks/k_quants.py --device cuda
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness.precision.k_quants import K_QUANTS, k_quant

LAYER = (12288, 3072)
TRANSFORMER = 8.2e9
"""Weights of Flex.2's transformer."""


def main() -> None:
    """Print a line for each type."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=LAYER[0], help="of a layer; fewer take less time")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    generator = torch.Generator(chosen.device).manual_seed(0)
    weight = (
        torch.randn(chosen.rows, LAYER[1], generator=generator, device=chosen.device).mul(0.02).bfloat16()
    )
    for kind in K_QUANTS:
        k_quant(weight[:256], kind)
        seconds, peak = measured(weight, kind)
        rate = weight.numel() / seconds
        beside = "" if peak is None else f", {peak / 1e9:.2f} GB beside the weight and its copy"
        print(
            f"{kind}: {rate / 1e6:.1f} M weights/s, {TRANSFORMER / rate:.1f} s for {TRANSFORMER:.2g}{beside}"
        )


def measured(weight: torch.Tensor, kind: str) -> tuple[float, int | None]:
    """Return seconds, the best of three, and on CUDA the bytes that were taken beside weight and result."""
    cuda, best = weight.is_cuda, float("inf")
    for _ in range(3):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            torch.cuda.synchronize()
        start = time.perf_counter()
        k_quant(weight, kind)
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, torch.cuda.max_memory_allocated() - before - weight.nbytes if cuda else None


if __name__ == "__main__":
    main()
