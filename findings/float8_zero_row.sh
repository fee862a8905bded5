#!/usr/bin/env bash
# optimum-quanto 0.2.7 and torchao 0.18.0: float8 weights make NaN of a linear layer with a row of zeros.
#
# Guess before the first run: optimum-quanto's scale of such a row is 0 and gives NaN; torchao bounds its scales from
# below, as both libraries' 8-bit integers do, and gives 0.
# What they do: both divide by the scale 0 and store NaN, without a word. A layer that begins at zero, as the last one of
# a ControlNet or of an adapter does, then makes every picture NaN; one row of zeros makes NaN of one channel.
# Output seen (Python 3.11, torch 2.14.1, CPU, bf16):
#   optimum-quanto qfloat8   NaN in 1 of 8 outputs, of a zero layer in 8 of 8
#   optimum-quanto qint8     NaN in 0 of 8 outputs, of a zero layer in 0 of 8
#   torchao float8           NaN in 1 of 8 outputs, of a zero layer in 8 of 8
#   torchao int8             NaN in 0 of 8 outputs, of a zero layer in 0 of 8
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 numpy optimum-quanto==0.2.7 torchao==0.18.0
fi
"$PYTHON" -W ignore - 2>/dev/null <<'PY'
import sys

import torch
from optimum.quanto import freeze, qfloat8, qint8, quantize
from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_


def quanto(kind):
    def apply(model):
        quantize(model, weights=kind)
        freeze(model)

    return apply


WAYS = {
    "optimum-quanto qfloat8": quanto(qfloat8), "optimum-quanto qint8": quanto(qint8),
    "torchao float8": lambda model: quantize_(model, Float8WeightOnlyConfig()),
    "torchao int8": lambda model: quantize_(model, Int8WeightOnlyConfig()),
}


def broken(apply, rows):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 8, bias=False)).bfloat16().requires_grad_(False)
    model[0].weight[rows] = 0
    apply(model)
    with torch.no_grad():
        return int(model(torch.ones(1, 64).bfloat16()).isnan().sum())


found = {}
for name, apply in WAYS.items():
    found[name] = broken(apply, slice(3, 4)), broken(apply, slice(None))
    print(f"{name:24} NaN in {found[name][0]} of 8 outputs, of a zero layer in {found[name][1]} of 8")
sys.exit([*found.values()] != [(1, 8), (0, 0), (1, 8), (0, 0)])
PY
