#!/usr/bin/env bash
# diffusers 0.42.1 with gguf 0.19.0: a GGUF file's weights are computed in fp16, whatever compute_dtype asks for.
#
# A good engineer would guess: GGUFQuantizationConfig(compute_dtype=torch.float32) computes with the numbers that the file
# means, those that the gguf package and ggml unpack, and compute_dtype=torch.bfloat16 with these rounded once. Guess
# before the run: every step of the unpacking is rounded to fp16, and then to compute_dtype.
# What it does: so it is. With compute_dtype=torch.float32 most weights are off in the fourth digit. With bf16 they are
# rounded twice, and up to one in ten is the next bf16 number: nine tenths of the noise that the one rounding to bf16 has
# come on top of it. So one file makes other pictures here than where it is unpacked in fp32. ComfyUI-GGUF, from which
# the code came, unpacks in fp16 as well, unless its advanced loader is told another dtype.
# Output seen (Python 3.11, torch 2.14.1, CPU), of 65536 weights by compute_dtype, against the gguf package's; by how much
# in parts of the weight's norm:
#   Q8_0   float32: 53646 differ, by 0.000206   bfloat16: 3636 differ, by 0.0014 (rounding to it: 0.0017)
#   Q6_K   float32: 62005 differ, by 0.000286   bfloat16: 4544 differ, by 0.0015 (rounding to it: 0.0016)
#   Q4_K   float32: 63455 differ, by 0.000364   bfloat16: 6656 differ, by 0.0015 (rounding to it: 0.0017)
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 diffusers==0.42.1 gguf==0.19.0 transformers==5.24.0 accelerate
fi
DIFFUSERS_VERBOSITY=error "$PYTHON" -W ignore - <<'PY'
import sys

import gguf
import numpy as np
import torch
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

KINDS = gguf.GGMLQuantizationType
ROWS, COLUMNS = 128, 512
random = np.random.default_rng(0)


def stored(kind):
    """Bytes of a weight: K-quants, which the package reads and does not write, of random codes and usual scales."""
    if kind == KINDS.Q8_0:
        return gguf.quants.quantize(random.normal(0, 0.03, (ROWS, COLUMNS)).astype(np.float32), kind)
    weights, width = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (ROWS * COLUMNS // weights, width), dtype=np.uint8)
    for place in {KINDS.Q4_K: (0, 2), KINDS.Q6_K: (width - 2,)}[kind]:
        scales = random.uniform(0.5e-4, 1.5e-4, (len(blocks), 1)).astype(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8)
    return blocks.reshape(ROWS, -1)


def computed(weight, kind, dtype):
    """The weight that diffusers' layer multiplies with."""
    layer = GGUFLinear(COLUMNS, ROWS, bias=False, compute_dtype=dtype)
    layer.weight = GGUFParameter(torch.from_numpy(weight), quant_type=kind)
    with torch.no_grad():
        return layer(torch.eye(COLUMNS, dtype=dtype)).T


def error(made, exact):
    return float((made.float() - exact).norm() / exact.norm())


as_seen = True
for kind in (KINDS.Q8_0, KINDS.Q6_K, KINDS.Q4_K):
    weight = stored(kind)
    exact = torch.from_numpy(gguf.quants.dequantize(weight, kind))
    full, half = computed(weight, kind, torch.float32), computed(weight, kind, torch.bfloat16)
    off, moved = int((full != exact).sum()), int((half != exact.bfloat16()).sum())
    twice, once = error(half, exact.bfloat16().float()), error(exact.bfloat16(), exact)
    print(
        f"{kind.name}   float32: {off:5} differ, by {error(full, exact):.6f}   bfloat16: {moved:4} differ, by {twice:.4f} "
        f"(rounding to it: {once:.4f})"
    )
    as_seen &= off > exact.numel() / 2 and moved > exact.numel() / 100
sys.exit(not as_seen)
PY
