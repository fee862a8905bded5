"""Print what each axis does to the pictures of a checkpoint: SSIM and LPIPS against the reference render.

    python tools/axis_table.py --checkpoint FOLDER [--lora FILE.safetensors]

Every row changes one thing in bf16 on the CPU and is averaged over the prompts. The last rows need a LoRA.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.case import Base
from harness.reference.checkpoint import find_checkpoint
from harness.reference.load import load_pipeline, reference_scheduler
from harness.reference.noise import draw
from harness.reference.spec import FLEX2
from harness.scoring.perceptual import Lpips
from harness.scoring.score import score_images

PROMPTS = (
    "a large lion on a blue background",
    "a rocket on a purple background",
    "a cat and a guitar on a green background",
    "two strawberries on a white background",
    "a small duck on the left on an orange background",
    "a large pizza on a grey striped background",
)
SEED, STEPS, GUIDANCE = 42, 25, 4.0
Image = np.ndarray[Any, Any]


def packed_noise(pipe: Any, era: str, dtype: torch.dtype, seed: int = SEED) -> torch.Tensor:
    """Return packed starting latents for 128×128 as torch of that era draws them."""
    noise = draw((1, 16, 16, 16), seed, dtype, era)  # type: ignore[arg-type]
    return pipe._pack_latents(noise, 1, 16, 16, 16)  # type: ignore[no-any-return]


def render(pipe: Any, prompt: str, **changed: Any) -> Image:
    """Render one prompt with the reference settings, some of them changed."""
    settings = {
        "width": 128,
        "height": 128,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        **changed,
    }
    if "latents" not in settings:
        settings["generator"] = torch.Generator("cpu").manual_seed(settings.pop("seed", SEED))
    with torch.inference_mode():
        return np.asarray(pipe(prompt, **settings).images[0].convert("RGB"))


@contextmanager
def static_shift(pipe: Any, shift: float) -> Iterator[None]:
    """Use a static time shift instead of the dynamic one."""
    kept = pipe.scheduler
    pipe.scheduler = type(kept).from_config(kept.config, use_dynamic_shifting=False, shift=shift)
    try:
        yield
    finally:
        pipe.scheduler = kept


def load(folder: Path, dtype: str) -> Any:
    """Load the checkpoint with the builtin pipeline on the CPU."""
    loaded = load_pipeline(
        find_checkpoint(Base(path=str(folder)), FLEX2),
        FLEX2,
        code="builtin",
        dtype=dtype,  # type: ignore[arg-type]
        device="cpu",
        offload="none",
        trust_remote_code=False,
    )
    loaded.pipe.scheduler = reference_scheduler(FLEX2)
    return loaded.pipe


def row(name: str, reference: list[Image], images: list[Image], lpips: Lpips) -> str:
    """Return one line of the table: mean SSIM and LPIPS over the prompts."""
    scores = [score_images(a, b, lpips) for a, b in zip(reference, images, strict=True)]
    return f"| {name} | {np.mean([s.ssim for s in scores]):.3f} | {np.mean([s.lpips for s in scores]):.4f} |"


def base_rows(folder: Path, lpips: Lpips) -> Iterator[str]:
    """Yield the rows that need no LoRA."""
    pipe = load(folder, "bf16")
    reference = [render(pipe, prompt) for prompt in PROMPTS]

    def images(context: Callable[[], Any] = nullcontext, **changed: Any) -> list[Image]:
        with context():
            return [render(pipe, prompt, **changed) for prompt in PROMPTS]

    legacy = packed_noise(pipe, "legacy", torch.bfloat16)
    yield row("seed 43 for 42", reference, images(seed=43), lpips)
    yield row("noise of torch ≤ 2.11", reference, images(latents=legacy), lpips)
    yield row("guidance 1.0 for 4.0", reference, images(guidance_scale=1.0), lpips)
    yield row("static shift 3.0 for dynamic", reference, images(lambda: static_shift(pipe, 3.0)), lpips)
    yield row("guidance 3.5 for 4.0", reference, images(guidance_scale=3.5), lpips)
    yield row("20 steps for 25", reference, images(num_inference_steps=20), lpips)
    whole = load(folder, "fp32")
    noise = packed_noise(whole, "current", torch.bfloat16).float()
    yield row("fp32 for bf16", reference, [render(whole, prompt, latents=noise) for prompt in PROMPTS], lpips)
    yield row(
        "attention kernel: math for flash", reference, images(lambda: sdpa_kernel(SDPBackend.MATH)), lpips
    )


def lora_rows(folder: Path, file: Path, trigger: str, lpips: Lpips) -> Iterator[str]:
    """Yield the rows about a LoRA; their reference is the fused render."""
    prompts = [f"{trigger} {prompt.split(' on a')[0]}" for prompt in PROMPTS]
    pipe = load(folder, "bf16")
    plain = [render(pipe, prompt) for prompt in prompts]
    pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="lora")
    live = [render(pipe, prompt) for prompt in prompts]
    pipe.fuse_lora(adapter_names=["lora"], lora_scale=1.0)
    pipe.unload_lora_weights()
    fused = [render(pipe, prompt) for prompt in prompts]
    yield row("no LoRA for a fused one", fused, plain, lpips)
    yield row("live adapter for a fused one", fused, live, lpips)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--lora", type=Path, help="a LoRA of this checkpoint")
    parser.add_argument("--trigger", default="inkprint", help="the LoRA's trigger word (default %(default)s)")
    options = parser.parse_args()
    lpips = Lpips()
    print("| changed | SSIM | LPIPS |\n|---|---|---|")
    for line in base_rows(options.checkpoint, lpips):
        print(line, flush=True)
    if options.lora is not None:
        for line in lora_rows(options.checkpoint, options.lora, options.trigger, lpips):
            print(line, flush=True)


if __name__ == "__main__":
    main()
