"""The plain script that a person debugging writes: load, set the scheduler, fuse the LoRA, call, score.

    python benchmarks/plain.py JOBS.json

One job renders one setting; several jobs keep the process and reload the pipeline for every LoRA scale, as
the reference's page says. Nothing of the harness's renderer is used; the pipeline class is its builtin one.
Called by benchmarks/against_reference.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from skimage.metrics import structural_similarity

from harness.metrics.lpips import Lpips
from harness.pipeline.flex2 import Flex2Pipeline


def load(base: str, lora: str, scale: float) -> Any:
    """Return the pipeline with the LoRA fused."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = Flex2Pipeline.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.text_encoder_2.set_attn_implementation("eager")  # as the reference's transformers has it
    file = Path(lora)
    pipe.load_lora_weights(
        str(file.parent), weight_name=file.name, adapter_name="lora", local_files_only=True
    )
    pipe.fuse_lora(adapter_names=["lora"], lora_scale=scale)
    pipe.unload_lora_weights()
    return pipe


def main() -> None:
    """Render and score every job."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    preview = np.asarray(Image.open(plan["preview"]).convert("RGB"))
    lpips = Lpips(device="cuda" if torch.cuda.is_available() else "cpu")
    pipe, scale = None, None
    for job in plan["jobs"]:
        if job["scale"] != scale:
            pipe = None
            pipe, scale = load(plan["base"], plan["lora"], job["scale"]), job["scale"]
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(**job["scheduler"])
        with torch.inference_mode():
            generator = torch.Generator("cpu").manual_seed(plan["call"]["seed"])
            call = {name: value for name, value in plan["call"].items() if name != "seed"}
            image = np.asarray(pipe(generator=generator, **call).images[0].convert("RGB"))
        ssim = structural_similarity(
            preview, image, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=255, channel_axis=-1,
        )  # fmt: skip
        Image.fromarray(image).save(job["out"])
        print(job["out"], round(float(ssim), 4), round(lpips.score(preview, image), 4), flush=True)


if __name__ == "__main__":
    main()
