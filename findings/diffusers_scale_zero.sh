#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: a call with a LoRA scale of 0 sets every LoRA's strength to 1 for the next calls.
#
# A good engineer would guess: joint_attention_kwargs={"scale": 0} is for that call, as any other value is, and the
# strengths of set_adapters() hold again afterwards. Guess before the run: they do not, since a strength cannot be divided
# by 0.
# What it does: a call multiplies the strengths by its scale and divides them by it at the end; where it is 0, all active
# LoRAs get 1.0 instead. So in a row of pictures at scales 1, 0.5, 0, 1 the last differs from the first: a LoRA of 0.6 is
# stronger in it, and one that was set to 0 is on. No word. Set the strengths again after a call with 0.
# Output seen (Python 3.11, torch 2.14.1, CPU, fp32), a set to 0.6 and b to 0, how much of each is in the layer's output
# after calls at these scales:
#   none     a 0.6, b 0
#   1        a 0.6, b 0
#   0.5      a 0.6, b 0
#   0        a 1, b 1
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 accelerate safetensors
fi
DIFFUSERS_VERBOSITY=error "$PYTHON" -W ignore - <<'PY'
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file

LAYER = "transformer_blocks.0.attn.to_q"
draw = torch.Generator().manual_seed(0)
LORAS = {name: (torch.randn(4, 32, generator=draw), torch.randn(32, 4, generator=draw)) for name in "ab"}
model = FluxTransformer2DModel(
    in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
    joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=False, axes_dims_rope=(4, 4, 8),
)
rest = dict.fromkeys(["scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])
pipe = FluxPipeline(transformer=model, **rest)
for name, (down, up) in LORAS.items():
    with tempfile.TemporaryDirectory() as folder:
        halves = {f"transformer.{LAYER}.lora_A.weight": down, f"transformer.{LAYER}.lora_B.weight": up}
        save_file(halves, Path(folder) / "lora.safetensors")
        pipe.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name=name, local_files_only=True)


def call(scale):
    """One step of a render, as a pipeline makes it."""
    model(
        hidden_states=torch.ones(1, 4, 16), encoder_hidden_states=torch.ones(1, 3, 32), timestep=torch.ones(1),
        pooled_projections=torch.ones(1, 32), img_ids=torch.zeros(4, 3), txt_ids=torch.zeros(3, 3),
        joint_attention_kwargs={"scale": scale},
    )


def parts():
    """How much of a and of b is in the layer's output: least squares over all of its values."""
    layer, one = model.get_submodule(LAYER), torch.eye(32)
    added = (layer(one) - layer.base_layer(one)).T.flatten()
    changes = torch.stack([(up @ down).flatten() for down, up in LORAS.values()], 1)
    return [abs(round(float(part), 3)) for part in torch.linalg.lstsq(changes, added[:, None]).solution]


found = []
for scale in (None, 1.0, 0.5, 0.0):
    pipe.set_adapters(["a", "b"], [0.6, 0.0])
    with torch.no_grad():
        if scale is not None:
            call(scale)
        found.append(parts())
    name = "none" if scale is None else f"{scale:g}"
    print(f"{name:8} a {found[-1][0]:g}, b {found[-1][1]:g}")
sys.exit(found != [[0.6, 0], [0.6, 0], [0.6, 0], [1, 1]])
PY
