#!/usr/bin/env bash
# diffusers 0.42.1: top-level layers of a kohya LoRA for Flux are converted and then not applied, without a word.
#
# Guess before the run: FluxLoraLoaderMixin.lora_state_dict converts lora_unet_img_in, lora_unet_txt_in,
# lora_unet_time_in_in_layer and the others outside the blocks to keys without the prefix "transformer.", while
# load_lora_weights applies only keys with it: the file loads, its blocks work, these layers do nothing.
#
# Seen (diffusers 0.42.1, peft 0.21.2, torch 2.14.1, CPU):
#   blocks: 1 of 1 layers applied
#   img_in, txt_in, time_in.in_layer, vector_in.in_layer: 0 of 4 layers applied, no warning
#
# Exits with 1 if that changes. Uses the interpreter in $PYTHON, or makes an environment in a temporary folder.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"; PYTHON=$folder/venv/bin/python
  "$PYTHON" -m pip install -q torch==2.14.1 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 accelerate safetensors
fi
"$PYTHON" - <<'PY'
import sys, tempfile, warnings
from pathlib import Path
import diffusers, peft, torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file

SIZE = 32
model = FluxTransformer2DModel(
    in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
    joint_attention_dim=SIZE, pooled_projection_dim=SIZE, guidance_embeds=False, axes_dims_rope=(4, 4, 8),
)
pipe = FluxPipeline(
    scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, transformer=model
)
layers = {
    "double_blocks_0_img_mlp_0": "transformer_blocks.0.ff.net.0.proj",
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed.timestep_embedder.linear_1",
    "vector_in_in_layer": "time_text_embed.text_embedder.linear_1",
}
tensors = {}
for name, module in layers.items():
    linear = model.get_submodule(module)
    tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(4, linear.in_features)
    tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(linear.out_features, 4)
    tensors[f"lora_unet_{name}.alpha"] = torch.tensor(4.0)
with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    save_file(tensors, Path(folder) / "lora.safetensors")
    pipe.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name="a", local_files_only=True)
applied = {module for module in layers.values() if "a" in getattr(model.get_submodule(module), "lora_A", {})}
block, *outside = layers.values()
print("diffusers", diffusers.__version__, "peft", peft.__version__, "torch", torch.__version__)
print("blocks:", int(block in applied), "of 1 layers applied")
print("outside the blocks:", len(applied & set(outside)), "of", len(outside), "layers applied")
print("warnings that name them:", sum("img_in" in str(w.message) or "x_embedder" in str(w.message) for w in said))
sys.exit(not (block in applied and not applied & set(outside)))
PY
