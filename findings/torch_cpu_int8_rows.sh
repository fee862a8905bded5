#!/usr/bin/env bash
# optimum-quanto 0.2.7 on the CPU: a bf16 linear layer with qint8 weights ends the process where 16 does not divide its inputs.
#
# Guess, written after a first crash at 196 inputs, which quanto's own condition (4 divides them) lets through: every width
# that 16 does not divide ends the process, whatever the number of rows; all others are right; torchao's int8 is right at
# any width, as it unpacks first; and held to AVX2 it is 8 that must divide.
# What it does: with 64 rows just that, and at 8 for AVX2. One row does not crash, and gives wrong numbers, in some runs
# right ones. torch._weight_int8pack_mm, which quanto calls, goes through each row a whole vector at a time and checks no
# width (aten/src/ATen/native/cpu/int8mm_kernel.cpp). Flex.2's first layer has 196 inputs.
# Output seen (Python 3.11, torch 2.14.1, AMD Zen 4 with AVX-512):
#   optimum-quanto, 1 row:                 192 right; 196 wrong numbers; 200 wrong numbers; 208 right
#   optimum-quanto, 64 rows:               192 right; 196 ended by signal 11; 200 ended by signal 11; 208 right
#   optimum-quanto, AVX2 only, 1 row:      192 right; 196 right; 200 right; 208 right
#   optimum-quanto, AVX2 only, 64 rows:    192 right; 196 ended by signal 11; 200 right; 208 right
#   torchao, 1 row:                        192 right; 196 right; 200 right; 208 right
#   torchao, 64 rows:                      192 right; 196 right; 200 right; 208 right
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if ! grep -qw avx512f /proc/cpuinfo; then
  echo "not measured: this processor has no AVX-512"
  exit 0
fi
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 numpy optimum-quanto==0.2.7 torchao==0.18.0
fi
"$PYTHON" -W ignore - <<'PY'
import os
import subprocess
import sys

ONE = """
import sys

import torch

library, inputs, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
layer = torch.nn.Linear(inputs, 96, bias=False, dtype=torch.bfloat16).requires_grad_(False)
model = torch.nn.Sequential(layer)
if library == "optimum-quanto":
    from optimum.quanto import freeze, qint8, quantize

    quantize(model, weights=qint8)
    freeze(model)
else:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(model, Int8WeightOnlyConfig())
batch = torch.randn(rows, inputs).bfloat16()
with torch.no_grad():
    wanted = batch.float() @ model[0].weight.dequantize().float().T
    error = (model(batch).float() - wanted).abs().max() / wanted.abs().max()
print("right" if error < 0.02 else "wrong numbers")
"""


def outcome(library, inputs, rows, capability):
    extra = {"ATEN_CPU_CAPABILITY": capability} if capability else {}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ONE, library, str(inputs), str(rows)],
                          capture_output=True, text=True, env={**os.environ, **extra})
    return done.stdout.strip() or f"ended by signal {-done.returncode}"


WIDTHS = (192, 196, 200, 208)
seen = {}
for name, library, capability in (
    ("optimum-quanto", "optimum-quanto", ""), ("optimum-quanto, AVX2 only", "optimum-quanto", "avx2"), ("torchao", "torchao", "")
):
    for rows in (1, 64):
        seen[name, rows] = [outcome(library, inputs, rows, capability) for inputs in WIDTHS]
        line = "; ".join(f"{inputs} {each}" for inputs, each in zip(WIDTHS, seen[name, rows]))
        print(f"{name + ', ' + str(rows) + (' rows:' if rows > 1 else ' row:'):38} {line}")
right, ended = "right", "ended by signal 11"
known = (
    seen["optimum-quanto", 64] == [right, ended, ended, right]
    and seen["optimum-quanto, AVX2 only", 64] == [right, ended, right, right]
    and seen["torchao", 64] == [right] * 4
)
sys.exit(not known)
PY
