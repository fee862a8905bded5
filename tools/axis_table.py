"""Print what each axis does to the pictures of a checkpoint: SSIM and LPIPS against the reference render.

    python tools/axis_table.py

Every row changes one thing, in bf16 on the CPU, and is averaged over the prompts. Rows about a LoRA have the
reference render with that LoRA, fused, as their reference.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness._util.atomic_files import sha256_file
from harness.calibration.controls import OTHER_ATTENTION
from harness.metrics.lpips import Lpips
from harness.metrics.score_pair import score_images
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import Lora, RenderRequest, Shift

JOB = Path(__file__).parent.parent / "harness" / "data" / "jobs" / "emoji_inkprint"
PROMPTS = (
    "a large lion on a blue background",
    "a rocket on a purple background",
    "a cat and a guitar on a green background",
    "two strawberries on a white background",
    "a small duck on the left on an orange background",
    "a large pizza on a grey striped background",
)
SEED, NOISE_ERA, GUIDANCE = "seed 43 for 42", "noise of torch ≤ 2.11", "guidance 1.0 for 4.0"
ATTENTION, ADAPTER = "other attention kernel", "live adapter for a fused LoRA"
CHANGES: dict[str, dict[str, Any]] = {
    SEED: {"seed": 43},
    NOISE_ERA: {"noise": "legacy"},
    GUIDANCE: {"guidance_scale": 1.0},
    "guidance 3.0 for 4.0": {"guidance_scale": 3.0},
    "static shift 3.0 for dynamic": {"shift": Shift(shift=3.0, dynamic_shifting=False)},
    "20 steps for 25": {"sample_steps": 20},
    "qfloat8 for bf16": {"quantize": "qfloat8"},
    "fp32 for bf16": {"dtype": "fp32"},
    ATTENTION: {"attention": OTHER_ATTENTION},
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A change, and its mean scores over the prompts."""

    change: str
    ssim: float
    lpips: float


def request(prompt: str, lora: Lora | None = None, steps: int = 25) -> RenderRequest:
    """Return the reference request for a prompt."""
    return RenderRequest(
        base=Base(embedded="tiny-flex2-emoji"), pipeline="builtin", dtype="bf16", lora=lora, prompt=prompt,
        neg="", width=128, height=128, seed=42, sample_steps=steps, guidance_scale=4.0,
    )  # fmt: skip


def rows(
    changes: dict[str, dict[str, Any]], references: list[RenderRequest], renderer: ReferenceRenderer
) -> Iterator[Row]:
    """Yield a row for every change of the references."""
    lpips = Lpips()
    images = [renderer.render(reference).image for reference in references]
    for name, change in changes.items():
        changed = [dataclasses.replace(reference, **change) for reference in references]
        scores = [
            score_images(image, renderer.render(other).image, lpips)
            for image, other in zip(images, changed, strict=True)
        ]
        yield Row(name, *(float(np.mean([getattr(s, m) for s in scores])) for m in ("ssim", "lpips")))


def table(
    file: Path, prompts: tuple[str, ...] = PROMPTS, steps: int = 25, only: Container[str] | None = None
) -> list[Row]:
    """Return a row for every change, or for those in ``only``; ``file`` is a LoRA of the checkpoint."""
    renderer = ReferenceRenderer(device="cpu")
    lora = Lora(file, sha256_file(file), 1.0)
    lora_changes: dict[str, dict[str, Any]] = {
        "no LoRA for a fused one": {"lora": None},
        "LoRA at 0.9 for 1.0": {"lora": dataclasses.replace(lora, network_multiplier=0.9)},
        ADAPTER: {"lora_mode": "adapter"},
    }
    plain = [request(prompt, steps=steps) for prompt in prompts]
    inked = [request(f"inkprint {prompt}", lora, steps) for prompt in prompts]
    return [
        row
        for changes, references in ((CHANGES, plain), (lora_changes, inked))
        for row in rows({k: v for k, v in changes.items() if only is None or k in only}, references, renderer)
    ]


def main() -> None:
    """Print the table in Markdown, the largest change first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lora", type=Path, default=JOB / f"{JOB.name}.safetensors")
    options = parser.parse_args()
    print("| changed | SSIM | LPIPS |\n|---|---|---|")
    for row in sorted(table(options.lora), key=lambda row: row.ssim):
        print(f"| {row.change} | {row.ssim:.3f} | {row.lpips:.4f} |", flush=True)


if __name__ == "__main__":
    main()
