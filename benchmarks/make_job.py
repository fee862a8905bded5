"""Write a job folder in AI Toolkit's layout for any base: random LoRAs, previews rendered by the reference.

    python benchmarks/make_job.py BASE JOB_DIR [--size 1024] [--steps 25] [--rank 32] [--every-layer]
        [--blank]

The previews are the harness's own renders, saved as AI Toolkit saves them (JPEG quality 75, 4:2:0). So a run
over the job tells whether another process repeats the same bits; it tells nothing about AI Toolkit.
``--blank`` saves grey pictures instead, for timings. The LoRA is one of the attention projections of the
double blocks; ``--every-layer``: of every linear layer of all blocks, as AI Toolkit trains it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from diffusers import FluxTransformer2DModel
from PIL import Image
from safetensors.torch import save_file

from harness._util.atomic_files import sha256_file
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import Lora, RenderRequest

PROMPTS = ("a red flower in a green forest", "portrait photo of sks, black hat, studio light")
SEED = 42
STEPS = (0, 100)


def layers(base: Path, every: bool) -> dict[str, tuple[int, int]]:
    """Return the output and input width of the layers that a LoRA changes, without reading a weight."""
    config = json.loads((base / "transformer" / "config.json").read_text())
    with torch.device("meta"):
        model = FluxTransformer2DModel.from_config(config)
    found = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    chosen = ("transformer_blocks.", "single_transformer_blocks.") if every else ("transformer_blocks.",)
    attention = ("to_q", "to_k", "to_v", "to_out.0")
    return {
        name: (module.out_features, module.in_features)
        for name, module in found.items()
        if name.startswith(chosen) and (every or name.endswith(attention))
    }


def random_lora(base: Path, file: Path, rank: int, step: int, every: bool = False) -> None:
    """Write a LoRA, keys as AI Toolkit names them."""
    generator = torch.Generator().manual_seed(step)
    tensors = {}
    for name, (out, width) in layers(base, every).items():
        key = f"transformer.{name}.lora_{{}}.weight"
        tensors[key.format("A")] = torch.randn(rank, width, generator=generator) / width**0.5
        tensors[key.format("B")] = torch.randn(out, rank, generator=generator) * 0.01
    metadata = {"training_info": json.dumps({"step": step, "epoch": 0}), "name": file.stem, "version": "1.0"}
    save_file({key: tensor.half().contiguous() for key, tensor in tensors.items()}, file, metadata=metadata)


def write_config(job: Path, base: Path, size: int, steps: int) -> None:
    """Write the job's config.yaml."""
    process = {
        "type": "sd_trainer",
        "network": {"type": "lora"},
        "save": {"dtype": "float16", "save_every": STEPS[1]},
        "train": {"steps": STEPS[1], "dtype": "bf16"},
        "model": {"name_or_path": str(base), "arch": "flex2", "quantize": False, "quantize_te": False},
        "sample": {
            "width": size,
            "height": size,
            "prompts": list(PROMPTS),
            "seed": SEED,
            "guidance_scale": 4,
            "sample_steps": steps,
        },
    }
    config = {
        "job": "extension",
        "config": {"name": job.name, "process": [process]},
        "meta": {"version": "1.0"},
    }
    (job / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def main() -> None:
    """Write the job folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("job", type=Path)
    parser.add_argument("--size", type=int, default=1024, help="pixels")
    parser.add_argument("--steps", type=int, default=25, help="denoising steps of a preview")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--every-layer", action="store_true", help="a LoRA of every layer of the blocks")
    parser.add_argument("--blank", action="store_true", help="grey previews, not rendered")
    options = parser.parse_args()
    base, job = options.base.resolve(), options.job
    (job / "samples").mkdir(parents=True)
    write_config(job, base, options.size, options.steps)
    file = job / f"{job.name}.safetensors"
    random_lora(base, file, options.rank, STEPS[1], options.every_layer)
    lora = Lora(file, sha256_file(file), 1.0)
    renderer = None if options.blank else ReferenceRenderer(engine="eager")
    grey = np.full((options.size, options.size, 3), 128, np.uint8)
    clock = 1_795_000_000_000
    for step in STEPS:
        for index, prompt in enumerate(PROMPTS):
            request = RenderRequest(
                base=Base(path=str(base)),
                pipeline="builtin",
                dtype="bf16",
                lora=lora if step else None,
                prompt=prompt,
                neg="",
                width=options.size,
                height=options.size,
                seed=SEED,
                sample_steps=options.steps,
                guidance_scale=4.0,
            )
            image = grey if renderer is None else renderer.render(request).image
            clock += 1000
            Image.fromarray(image).save(job / "samples" / f"{clock}__{step:09d}_{index}.jpg")
            print(step, index, flush=True)


if __name__ == "__main__":
    main()
