"""Record what an old torch draws on the CPU: run with torch 2.9.1 installed, prints legacy.json."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import torch

SEEDS = (0, 1, 42, 99, 2**31, 2**32 - 1, 2**32 + 5, 2**63 - 1)
SHAPES = ((1, 16, 64, 64), (5,), (17,), (1, 16, 3, 5), (1, 3, 7, 5))
DTYPES = {"bfloat16": torch.int16, "float16": torch.int16, "float32": torch.int32}
KEPT = 48


def record(seed: int, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn(shape, generator=generator, dtype=getattr(torch, dtype))
    bits = noise.view(DTYPES[dtype]).flatten()
    return {
        "seed": seed,
        "shape": shape,
        "dtype": dtype,
        "first": bits[:KEPT].tolist(),
        "last": bits[-KEPT:].tolist(),
        "sha256": hashlib.sha256(bits.numpy().tobytes()).hexdigest(),
    }


cases = [record(seed, shape, dtype) for dtype in DTYPES for seed in SEEDS for shape in SHAPES]
lines = ",\n".join(json.dumps(case) for case in cases)
sys.stdout.write(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')
