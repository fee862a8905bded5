#!/usr/bin/env bash
# optimum-quanto 0.2.7 with diffusers 0.42.1 and peft 0.21.2: a LoRA that is fused into frozen weights is gone.
#
# A good engineer would guess: fuse_lora either adds the LoRA to what the weights mean and quantizes the sum again, as peft
# does for bitsandbytes, or raises, as it does where a torchao layer cannot be quantized again. Guess before the run: no
# error, and nothing changes.
# What it does: so it is. The layers are subclasses of nn.Linear, so peft takes them for plain ones and assigns to
# weight.data, which a quanto tensor ignores. fuse_lora raises nothing and warns of nothing, diffusers lists the adapter as
# fused, and every output is the one without the LoRA, before unload_lora and after. Not frozen, or live, the LoRA acts.
# Output seen (Python 3.11, torch 2.14.1, CPU): how far the output is from the one without the LoRA, in parts of what the
# live LoRA does:
#   none: live 1.00, fused 1.00, unloaded 1.00
#   qfloat8, not frozen: live 1.00, fused 0.99, unloaded 0.99
#   qfloat8, frozen: live 1.00, fused 0.00, unloaded 0.00
#   qint8, frozen: live 1.00, fused 0.00, unloaded 0.00
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 numpy optimum-quanto==0.2.7 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0
fi
DIFFUSERS_VERBOSITY=error "$PYTHON" -W ignore - <<'PY'
import sys

import torch
from diffusers import FluxTransformer2DModel
from optimum.quanto import freeze, qfloat8, qint8, quantize
from peft import LoraConfig


def transformer():
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    ).eval()


def output(model):
    draw = torch.Generator().manual_seed(1)
    tensors = {"hidden_states": (1, 16, 16), "encoder_hidden_states": (1, 8, 32), "pooled_projections": (1, 32)}
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in tensors.items()}
    places = {"img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(8, 3)}
    with torch.no_grad():
        return model(**tensors, **places, timestep=torch.tensor([0.5])).sample


found = {}
for name, kind, frozen in (("none", None, False), ("qfloat8, not frozen", qfloat8, False),
                           ("qfloat8, frozen", qfloat8, True), ("qint8, frozen", qint8, True)):
    model = transformer()
    if kind is not None:
        quantize(model, weights=kind)
    if frozen:
        freeze(model)
    without = output(model)
    torch.manual_seed(3)
    model.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False), "own")
    size = (output(model) - without).norm()
    model.fuse_lora()
    fused = float((output(model) - without).norm() / size)
    model.unload_lora()
    unloaded = float((output(model) - without).norm() / size)
    found[name] = fused, unloaded
    print(f"{name}: live 1.00, fused {fused:.2f}, unloaded {unloaded:.2f}")
lost = all(found[name] == (0, 0) for name in found if name.endswith(", frozen"))
sys.exit(not (lost and min(found["none"] + found["qfloat8, not frozen"]) > 0.9))
PY
