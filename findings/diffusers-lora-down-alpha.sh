#!/usr/bin/env bash
# diffusers 0.42.1: the same LoRA with the same alpha keys is scaled by alpha / rank or not, by the name of its halves.
#
# Guess before the run: under the prefix "transformer.", a file with lora_down and lora_up takes the way of kohya
# files, which renames the halves and returns no alphas; the alpha keys beside them are then ignored. With lora_A
# and lora_B the same keys are read as network alphas.
#
# Seen (diffusers 0.42.1, peft 0.21.2, torch 2.14.1, CPU), rank 4, alpha 2:
#   transformer.….lora_A / lora_B / alpha     scale 0.5
#   transformer.….lora_down / lora_up / alpha scale 1.0, no warning
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 accelerate safetensors
fi
"$PYTHON" - <<'PY'
import sys, tempfile
from pathlib import Path
import diffusers, peft, torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file

model = FluxTransformer2DModel(
    in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
    joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=False, axes_dims_rope=(4, 4, 8),
)
pipe = FluxPipeline(
    scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, transformer=model
)
name = "transformer_blocks.0.attn.to_q"


def scale(down: str, up: str) -> float:
    layer = f"transformer.{name}"
    tensors = {
        f"{layer}.{down}.weight": torch.randn(4, 32), f"{layer}.{up}.weight": torch.randn(32, 4),
        f"{layer}.alpha": torch.tensor(2.0),
    }
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "lora.safetensors")
        pipe.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name="a", local_files_only=True)
    found = float(model.get_submodule(name).scaling["a"])
    a, b = (getattr(model.get_submodule(name), half)["a"].weight for half in ("lora_A", "lora_B"))
    delta = found * (b @ a)
    delta, plain = delta.detach(), tensors[f"{layer}.{up}.weight"] @ tensors[f"{layer}.{down}.weight"]
    pipe.unload_lora_weights()
    return round(float((delta / plain).median()), 4)


print("diffusers", diffusers.__version__, "peft", peft.__version__, "torch", torch.__version__)
ab, down_up = scale("lora_A", "lora_B"), scale("lora_down", "lora_up")
print("lora_A / lora_B:", ab)
print("lora_down / lora_up:", down_up)
sys.exit((ab, down_up) != (0.5, 1.0))
PY
