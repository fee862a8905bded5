#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: a strength that is set while a LoRA is fused decides what unfuse_lora() takes away.
#
# A good engineer would guess: while a LoRA is fused, set_adapters("a", 0.5) changes the picture or does nothing, and
# unfuse_lora() takes away what fuse_lora() added. Guess before the run: it takes away B·A at the strength of the moment.
# What it does: set_adapters changes nothing that can be seen, and unfuse_lora() then subtracts half of what was fused. The
# other half stays in the base's weights, and every later picture is made with it, those of other LoRAs too. No word. A
# strength above the fused one takes away more than there was. It does not show while the LoRA is live again, since that
# adds the half that was taken; it shows once the LoRA is unloaded or another one set.
# Output seen (Python 3.11, torch 2.14.1, CPU, fp32), LoRA fused at 1.0, how much of it is in the layer's output:
#   set while fused    fused    unfused and unloaded
#   nothing            1        0
#   0.5                1        0.5
#   0.0                1        1
#   2.0                1        -1
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
down, up = torch.randn(4, 32, generator=draw), torch.randn(32, 4, generator=draw)


def pipeline():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=False, axes_dims_rope=(4, 4, 8),
    )
    rest = dict.fromkeys(["scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])
    return FluxPipeline(transformer=model, **rest)


def load(pipe):
    with tempfile.TemporaryDirectory() as folder:
        halves = {f"transformer.{LAYER}.lora_A.weight": down, f"transformer.{LAYER}.lora_B.weight": up}
        save_file(halves, Path(folder) / "lora.safetensors")
        pipe.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name="a", local_files_only=True)


def part(pipe):
    """How much of B·A is in the layer's output."""
    with torch.no_grad():
        added, base = (each.transformer.get_submodule(LAYER)(torch.eye(32)).T for each in (pipe, pipeline()))
    change = up @ down
    return round(float(((added - base) * change).sum() / change.square().sum()), 3) + 0.0


found = []
print(f"{'set while fused':18} {'fused':8} unfused and unloaded")
for strength in (None, 0.5, 0.0, 2.0):
    pipe = pipeline()
    load(pipe)
    pipe.fuse_lora()
    if strength is not None:
        pipe.set_adapters("a", strength)
    fused = part(pipe)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    found.append((fused, part(pipe)))
    print(f"{'nothing' if strength is None else strength!s:18} {fused:<8g} {found[-1][1]:g}")
sys.exit(found != [(1, 0), (1, 0.5), (1, 1), (1, -1)])
PY
