#!/usr/bin/env bash
# peft 0.21.2 (and diffusers 0.42.1): a DoRA adapter at strength 0 is not off.
#
# A good engineer would guess: at strength 0 an adapter adds nothing, as a LoRA does, and what is between 0 and 1 lies
# between the base and the trained layer. Guess before the run: the strength scales B·A alone and not the magnitudes.
# What it does: so it is. The layer is m · (W + s·B·A) / |W + s·B·A|, row by row, with the trained magnitudes m at every s.
# At 0 each row of the base is stretched to its trained length. A row of pictures by strength does not begin at the base;
# disable_lora() gives the base. Tools that scale the whole change (ComfyUI) show other pictures at every strength but 1.
# Output seen (Python 3.11, torch 2.14.1, CPU, fp32), one layer whose magnitudes were trained by up to 10 %, distance from
# the base in parts of the distance at strength 1:
#   strength   1      0.5    0.1    0
#   LoRA       1.000  0.500  0.100  0.000
#   DoRA       1.000  0.906  0.874  0.873
#   DoRA fused at 0: 0.873, with disable_lora(): 0.000
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
STRENGTHS = (1.0, 0.5, 0.1, 0.0)


def pipeline(dora):
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=False, axes_dims_rope=(4, 4, 8),
    )
    rest = dict.fromkeys(["scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])
    pipe = FluxPipeline(transformer=model, **rest)
    weight = model.get_submodule(LAYER).weight.detach().clone()
    tensors = {"lora_A.weight": torch.randn(4, 32) * 0.04, "lora_B.weight": torch.randn(32, 4) * 0.04}
    if dora:
        tensors["lora_magnitude_vector.weight"] = weight.norm(dim=1) * (0.9 + 0.2 * torch.rand(32))
    with tempfile.TemporaryDirectory() as folder:
        named = {f"transformer.{LAYER}.{key}": tensor for key, tensor in tensors.items()}
        save_file(named, Path(folder) / "lora.safetensors")
        pipe.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name="a", local_files_only=True)
    return pipe, weight


def distance(pipe, weight):
    layer, one, zero = pipe.transformer.get_submodule(LAYER), torch.eye(32), torch.zeros(1, 32)
    with torch.no_grad():
        return float((layer(one) - layer(zero) - weight.T).norm())


def row(dora):
    pipe, weight = pipeline(dora)
    found = []
    for strength in STRENGTHS:
        pipe.set_adapters("a", strength)
        found.append(distance(pipe, weight))
    return [each / found[0] for each in found], found[0], pipe, weight


print(f"{'strength':10}", "".join(f"{strength:<7g}" for strength in STRENGTHS))
lora, *_ = row(dora=False)
dora, whole, pipe, weight = row(dora=True)
for name, shares in (("LoRA", lora), ("DoRA", dora)):
    print(f"{name:10}", "".join(f"{share:<7.3f}" for share in shares))
pipe.disable_lora()
off = distance(pipe, weight) / whole
pipe, _ = pipeline(dora=True)
pipe.fuse_lora(lora_scale=0.0)
fused = distance(pipe, weight) / whole
print(f"DoRA fused at 0: {fused:.3f}, with disable_lora(): {off:.3f}")
sys.exit(not (lora[-1] < 1e-3 and off < 1e-3 and dora[-1] > 0.1 and fused > 0.1))
PY
