"""A Flex.1-shaped checkpoint, and a job whose previews the stock FluxPipeline rendered on it."""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import FluxPipeline

from harness.pipeline.bf16_products import has_bf16_kernels, quick_products
from harness.pipeline.load import quiet

TOOLS = Path(__file__).parents[1] / "tools"
WIDTH, HEIGHT, STEPS, GUIDANCE, SEED = 80, 64, 3, 4.0, 11
PROMPT = "a large cat on a white background"
NAME = "flex1_job"


def make_checkpoint(folder: Path) -> Path:
    """Write the checkpoint of ``tools/tiny_flex1.py``."""
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))
    from tiny_flex1 import make

    make(folder)
    return folder


def job_config(base: Path, *, model: dict[str, Any] | None = None, **sample: Any) -> dict[str, Any]:
    """Return the config of a job of two previews, as AI Toolkit writes it."""
    prompts = [PROMPT, f"{PROMPT} --w 64 --d 12"]
    process = {
        "type": "sd_trainer",
        "network": {"type": "lora", "linear": 8, "linear_alpha": 8},
        "train": {"steps": 200, "dtype": "bf16"},
        "model": {"name_or_path": str(base), "arch": "flex1", **(model or {})},
        "sample": {
            "sampler": "flowmatch", "width": WIDTH, "height": HEIGHT, "prompts": prompts, "seed": SEED,
            "guidance_scale": GUIDANCE, "sample_steps": STEPS, **sample,
        },
    }  # fmt: skip
    return {"job": "extension", "config": {"name": NAME, "process": [process]}}


def make_job(folder: Path, base: Path, lora: Path) -> Path:
    """Write the job: previews by diffusers alone, at step 0 without and at step 100 with the LoRA fused."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(job_config(base)))
    shutil.copy(lora, folder / f"{NAME}_000000100.safetensors")
    with quiet():
        pipe = FluxPipeline.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.text_encoder_2.set_attn_implementation("eager")  # as the reference's transformers has it
    for step in (0, 100):
        if step:
            pipe.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="lora")
            pipe.fuse_lora(adapter_names=["lora"])
        for index, (width, seed) in enumerate(((WIDTH, SEED), (64, 12))):
            with nullcontext() if has_bf16_kernels() else quick_products():  # as a re-run computes
                image = pipe(
                    prompt=PROMPT, width=width, height=HEIGHT, num_inference_steps=STEPS,
                    guidance_scale=GUIDANCE, generator=torch.Generator("cpu").manual_seed(seed),
                ).images[0]  # fmt: skip
            image.save(folder / "samples" / f"17319800000{step:03d}0__{step:09d}_{index}.jpg")
    return folder
