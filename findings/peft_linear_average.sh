#!/usr/bin/env bash
# peft 0.21.2: the "linear" average of two checkpoints of one training is twice as strong as either of them.
#
# A good engineer would guess: add_weighted_adapter(["a", "b"], [0.5, 0.5], combination_type="linear") gives half of each
# change, so that a LoRA averaged with itself is itself. Guess before the run: twice the change, because the roots of the
# weights are put on A and on B, and then A and B are added apart: (√½B + √½B)·(√½A + √½A) = 2·B·A.
# What it does: so it is. Two unrelated LoRAs lose nothing of their own changes but gain products of one's A with the
# other's B, as large together as both changes are. The nearer two LoRAs are to each other, as neighbouring checkpoints
# are, the more of these products are the LoRA once more. "cat" is the exact average, at the sum of the ranks; "svd" is
# the nearest one of the rank. (Its cross terms are peft issue 3004, about negative weights.)
# Output seen (Python 3.11, torch 2.14.1, CPU, fp32), 0.5 of a and 0.5 of b, both of rank 4: size of the change in parts of
# the exact average's, and cosine between the two. Neighbouring checkpoints of five genuine trainings have 1.91 to 2.00.
#                                    linear         cat            svd
#   b is a copy of a                 2.000, 1.000   1.000, 1.000   1.000, 1.000
#   b is a, three tenths of noise    1.997, 1.000   1.000, 1.000   1.000, 1.000
#   b is another LoRA                1.371, 0.682   1.000, 1.000   0.875, 0.875
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 peft==0.21.2 transformers==5.24.0 accelerate
fi
"$PYTHON" -W ignore - <<'PY'
import sys

import torch
from peft import LoraConfig, get_peft_model

RANK, SIZE = 4, 32
draw = torch.Generator().manual_seed(1)


def random(*shape):
    return torch.randn(*shape, generator=draw)


def average(first, second, kind):
    """The change that peft's average of two (A, B) adds, and the exact one."""
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["layer"])
    model = torch.nn.ModuleDict({"layer": torch.nn.Linear(SIZE, SIZE, bias=False)})
    model = get_peft_model(model, config, adapter_name="a")
    model.add_adapter("b", config)
    layer = model.base_model.model["layer"]
    with torch.no_grad():
        for name, (down, up) in (("a", first), ("b", second)):
            layer.lora_A[name].weight.copy_(down)
            layer.lora_B[name].weight.copy_(up)
        model.add_weighted_adapter(["a", "b"], [0.5, 0.5], "mean", combination_type=kind)
        return layer.get_delta_weight("mean"), (first[1] @ first[0] + second[1] @ second[0]) / 2


first = random(RANK, SIZE), random(SIZE, RANK)
near = tuple(factor + 0.3 * random(*factor.shape) for factor in first)
OTHERS = {
    "b is a copy of a": first,
    "b is a, three tenths of noise": near,
    "b is another LoRA": (random(RANK, SIZE), random(SIZE, RANK)),
}
KINDS = ("linear", "cat", "svd")
sizes = {}
print(" " * 32, "".join(f"{kind:15}" for kind in KINDS))
for name, second in OTHERS.items():
    cells = []
    for kind in KINDS:
        made, exact = average(first, second, kind)
        sizes[name, kind] = float(made.norm() / exact.norm())
        cosine = float((made * exact).sum() / made.norm() / exact.norm())
        cells.append(f"{sizes[name, kind]:.3f}, {cosine:.3f}   ")
    print(f"{name:32}", "".join(cells))
copy, near = ([sizes[name, kind] for kind in KINDS] for name in list(OTHERS)[:2])
sys.exit(not (abs(copy[0] - 2) < 1e-3 and near[0] > 1.8 and abs(copy[1] - 1) < 1e-3 and abs(copy[2] - 1) < 1e-3))
PY
