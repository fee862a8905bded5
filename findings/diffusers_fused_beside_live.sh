#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2: a fused LoRA silences the live one, and loading another takes the fused one out.
#
# A good engineer would guess: fuse_lora() bakes one LoRA, one that makes few steps enough for instance, into the weights,
# and another stays live on top of it, with a strength that can be changed. Guess before the first run: a layer in which
# anything is fused computes with its base alone, so the live one is dropped; right for the first order, not the second.
# What it does, where both LoRAs change the same layer:
# * both loaded and set, then fuse_lora(adapter_names=["a"]): b is gone, while get_active_adapters() names it. No word.
# * a loaded and fused, then b loaded: a is taken out of the weights again, while fused_loras names it. peft warns that it
#   unmerges; diffusers says nothing.
# The calls that give both: fuse both, or unload_lora_weights() between fusing a and loading b.
# Output seen (Python 3.11, torch 2.14.1, CPU, fp32), parts of a and b in the layer's output:
#   both live                             a 1, b 1; active a b, fused -
#   both live, then a fused               a 1, b 0; active a b, fused a
#   a fused, then b loaded                a 0, b 1; active b, fused a
#   a fused and unloaded, then b loaded   a 1, b 1; active b, fused a
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


def pipeline():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=False, axes_dims_rope=(4, 4, 8),
    )
    rest = dict.fromkeys(["scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])
    return FluxPipeline(transformer=model, **rest)


def load(pipe, name):
    down, up = LORAS[name]
    with tempfile.TemporaryDirectory() as folder:
        halves = {f"transformer.{LAYER}.lora_A.weight": down, f"transformer.{LAYER}.lora_B.weight": up}
        save_file(halves, Path(folder) / "lora.safetensors")
        pipe.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name=name, local_files_only=True)


def both_live(pipe):
    load(pipe, "a")
    load(pipe, "b")
    pipe.set_adapters(["a", "b"])


def then_fused(pipe):
    both_live(pipe)
    pipe.fuse_lora(adapter_names=["a"])


def then_loaded(pipe):
    load(pipe, "a")
    pipe.fuse_lora(adapter_names=["a"])
    load(pipe, "b")


def unloaded_between(pipe):
    load(pipe, "a")
    pipe.fuse_lora(adapter_names=["a"])
    pipe.unload_lora_weights()
    load(pipe, "b")


def output(pipe):
    with torch.no_grad():
        return pipe.transformer.get_submodule(LAYER)(torch.eye(32)).T


def parts(pipe):
    """How much of a and of b is in the layer's output: least squares over all of its values."""
    added = (output(pipe) - output(pipeline())).flatten()
    changes = torch.stack([(up @ down).flatten() for down, up in LORAS.values()], 1)
    return [abs(round(float(part), 3)) for part in torch.linalg.lstsq(changes, added[:, None]).solution]


WAYS = {
    "both live": both_live,
    "both live, then a fused": then_fused,
    "a fused, then b loaded": then_loaded,
    "a fused and unloaded, then b loaded": unloaded_between,
}
found = []
for name, way in WAYS.items():
    pipe = pipeline()
    way(pipe)
    found.append(parts(pipe))
    active, fused = " ".join(pipe.get_active_adapters()), " ".join(sorted(pipe.fused_loras)) or "-"
    print(f"{name:37} a {found[-1][0]:g}, b {found[-1][1]:g}; active {active}, fused {fused}")
sys.exit(found != [[1, 1], [1, 0], [0, 1], [1, 1]])
PY
