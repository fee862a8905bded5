#!/usr/bin/env bash
# optimum-quanto 0.2.7: activations are rounded to whole numbers until a calibration; without weights no layer runs.
#
# A good engineer would guess: quantize(model, activations=qint8) alone rounds what goes into and out of layers, and
# quantize(model) changes nothing; with activations a layer finds its scales while it runs, or refuses to run without.
# Guess before the run, of the first two: the same. The last was not guessed at: it was seen beside them.
# What it does: without weights=, which is optional, each linear layer and convolution raises TypeError when it is first
# called; quantize and freeze say nothing. With weights= and activations=qint8 the scales are 1 until Calibration() has
# run, so that activations become whole numbers, at most 127; nothing says so.
# Output seen (Python 3.11, torch 2.14.1, CPU, fp32), relative error of a layer's output:
#   weights and activations, calibrated       0.011
#   weights and activations, not calibrated   0.578
#   weights                                   0.004
#   activations                               TypeError
#   neither                                   TypeError
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 numpy optimum-quanto==0.2.7
fi
"$PYTHON" -W ignore - 2>/dev/null <<'PY'
import sys

import torch
from optimum.quanto import Calibration, freeze, qint8, quantize

WAYS = {
    "weights and activations, calibrated": {"weights": qint8, "activations": qint8},
    "weights and activations, not calibrated": {"weights": qint8, "activations": qint8},
    "weights": {"weights": qint8},
    "activations": {"activations": qint8},
    "neither": {},
}


@torch.no_grad()
def error(given, calibrate):
    torch.manual_seed(0)
    model, picture = torch.nn.Sequential(torch.nn.Linear(256, 256)), torch.randn(64, 256)
    wanted = model(picture)
    quantize(model, **given)
    if calibrate:
        with Calibration():
            model(picture)
    freeze(model)
    try:
        found = model(picture)
    except TypeError as raised:
        return type(raised).__name__
    found = found.dequantize() if hasattr(found, "dequantize") else found
    return f"{((found - wanted).norm() / wanted.norm()).item():.3f}"


found = []
for name, given in WAYS.items():
    found.append(error(given, name.endswith(", calibrated")))
    print(f"{name:41} {found[-1]}")
good, bad, weights, *rest = found
sys.exit(rest != ["TypeError"] * 2 or not (float(weights) < float(good) < 0.05 and float(bad) > 0.2))
PY
