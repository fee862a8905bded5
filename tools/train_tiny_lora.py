"""Train a rank-8 LoRA of a new style on ten pictures, and write it as a job folder in AI Toolkit's layout.

The job is made by this tool, not by AI Toolkit: same file names, same key names, same JPEG settings, so that
``harness import`` reads it as it reads a genuine one.

    python tools/train_tiny_lora.py --checkpoint harness/data/checkpoints/tiny-flex2-emoji --out runs/jobs

The ten pictures are icons of another package (MIT) in black on paper; two of them show things that the
checkpoint has never seen. ``--draw-pictures PACKAGE`` makes them anew from an installed
``@iconify-json/fluent-emoji-high-contrast`` 1.2.6.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from safetensors.torch import save as to_safetensors
from tinyflex import icons, network
from tinyflex.bank import pack
from tinyflex.components import Models, Tokenizers
from torch import Tensor, nn

from harness._util.atomic_files import write_bytes, write_text
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.base import Base
from harness.schema.render import Lora, RenderRequest

PICTURES = Path(__file__).parent / "lora_pictures"
TRIGGER = "inkprint"
RANK = 8
STYLE_ICONS = {
    "apple": "red-apple", "bicycle": "bicycle", "camera": "camera", "cat": "cat-face", "duck": "duck",
    "fish": "fish", "guitar": "guitar", "house": "house", "rocket": "rocket", "tree": "deciduous-tree",
}  # fmt: skip
PAPER = (246, 236, 214)
PROMPTS = (
    "[trigger] a large cat",
    "[trigger] a large penguin",
    "[trigger] a rocket and a star",
    "a large dog on a blue background",
    "two mushrooms on a yellow background --seed 7 --cfg 3.0 --steps 20",
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="base checkpoint in diffusers' layout")
    parser.add_argument(
        "--out", type=Path, required=True, help="training folder; the job is written below it"
    )
    parser.add_argument("--name", default="tiny_flex2_inkprint", help="job name (default %(default)s)")
    parser.add_argument(
        "--pictures", type=Path, default=PICTURES, help="folder of NAME.png with NAME.txt captions"
    )
    parser.add_argument("--draw-pictures", type=Path, help="draw the pictures from this icon package first")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sample-every", type=int, default=100)
    parser.add_argument("--sample-steps", type=int, default=25, help="of a preview (default %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate (default %(default)s)")
    parser.add_argument("--batch", type=int, default=4)
    return parser.parse_args(arguments)


def draw_pictures(package: Path, folder: Path) -> None:
    """Print the ten style icons in black on paper, with their captions."""
    nouns = tuple(icons.Noun(icon, word, f"{word}s") for word, icon in STYLE_ICONS.items())
    for noun, pixels in zip(STYLE_ICONS, icons.rasterise(package, nouns).pixels, strict=True):
        premultiplied = pixels.transpose(1, 2, 0)
        ink = Image.fromarray(premultiplied[..., :3]).resize((104, 104), Image.Resampling.LANCZOS)
        alpha = Image.fromarray(premultiplied[..., 3]).resize((104, 104), Image.Resampling.LANCZOS)
        sheet = Image.new("RGB", (128, 128), PAPER)
        sheet.paste(ink, (12, 12), alpha)
        folder.mkdir(parents=True, exist_ok=True)
        sheet.save(folder / f"{noun}.png", optimize=True)
        write_text(folder / f"{noun}.txt", f"[trigger] a large {noun}\n")


def load(checkpoint: Path) -> Models:
    """Load the checkpoint's networks in fp32."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel

    return Models(
        AutoencoderKL.from_pretrained(checkpoint / "vae"),
        FluxTransformer2DModel.from_pretrained(checkpoint / "transformer"),
        CLIPTextModel.from_pretrained(checkpoint / "text_encoder", dtype=torch.float32),
        T5EncoderModel.from_pretrained(checkpoint / "text_encoder_2", dtype=torch.float32),
    )


@torch.no_grad()
def read_pictures(folder: Path, models: Models, tokenizers: Tokenizers) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pictures' packed latents, text tokens and pooled vectors."""
    latents, captions = [], []
    for file in sorted(folder.glob("*.png")):
        pixels = torch.frombuffer(bytearray(Image.open(file).convert("RGB").tobytes()), dtype=torch.uint8)
        image = pixels.view(1, 128, 128, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
        mean = models.vae.encode(image).latent_dist.mean
        config = models.vae.config
        latents.append(pack(((mean - config.shift_factor) * config.scaling_factor).contiguous()))
        captions.append(
            file.with_suffix(".txt").read_text(encoding="utf-8").strip().replace("[trigger]", TRIGGER)
        )
    t5, clip = tokenizers.encode(captions, 512, 77)
    text, pooled = network.read_captions(models, torch.from_numpy(t5), torch.from_numpy(clip))
    return torch.cat(latents), text, pooled


def add_lora(transformer: Any) -> list[nn.Parameter]:
    """Freeze the transformer and put a rank-8 adapter on every linear layer of its blocks."""
    from peft import LoraConfig

    names = [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and "transformer_blocks" in name
    ]
    transformer.requires_grad_(False)
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names))
    return [parameter for parameter in transformer.parameters() if parameter.requires_grad]


def save_lora(transformer: Any, file: Path, name: str, step: int) -> None:
    """Write the adapter with AI Toolkit's key names, fp16, without alpha, and its metadata."""
    weights = {
        f"transformer.{key.replace('.default.', '.')}": value.detach().to(torch.float16).contiguous()
        for key, value in transformer.state_dict().items()
        if ".lora_A." in key or ".lora_B." in key
    }
    metadata = {
        "format": "pt",
        "name": name,
        "version": "1.0",
        "ss_base_model_version": "flex2",
        "ss_output_name": name,
        "ss_tag_frequency": json.dumps({f"1_{TRIGGER}": {TRIGGER: 1}}),
        "training_info": json.dumps({"step": step, "epoch": step // len(STYLE_ICONS)}),
        "software": json.dumps({"name": "train_tiny_lora", "repo": "flex2-harness", "version": "1"}),
        "sshs_model_hash": hashlib.sha256(to_safetensors(weights)).hexdigest(),
    }
    write_bytes(file, to_safetensors(weights, metadata))


def write_config(job: Path, options: argparse.Namespace) -> None:
    """Write ``config.yaml`` as AI Toolkit dumps it."""
    sample = {
        "sampler": "flowmatch", "sample_every": options.sample_every, "width": 128, "height": 128,
        "prompts": list(PROMPTS), "neg": "", "seed": 42, "walk_seed": False,
        "guidance_scale": 4, "sample_steps": options.sample_steps,
    }  # fmt: skip
    process = {
        "type": "sd_trainer",
        "training_folder": "output",
        "device": "cpu",
        "trigger_word": TRIGGER,
        "network": {"type": "lora", "linear": RANK, "linear_alpha": RANK},
        "save": {"dtype": "float16", "save_every": options.sample_every},
        "datasets": [{"folder_path": "lora_pictures", "caption_ext": "txt", "resolution": [128]}],
        "train": {
            "batch_size": options.batch, "steps": options.steps,
            "train_unet": True, "train_text_encoder": False,
            "bypass_guidance_embedding": True, "noise_scheduler": "flowmatch", "timestep_type": "shift",
            "optimizer": "adamw", "lr": options.rate, "dtype": "bf16",
        },
        "model": {
            "name_or_path": options.checkpoint.name, "arch": "flex2", "quantize": False, "quantize_te": False,
        },
        "sample": sample,
    }  # fmt: skip
    config = {"job": "extension", "config": {"name": options.name, "process": [process]}}
    config["meta"] = {"name": options.name, "version": "1.0"}
    write_text(job / "config.yaml", yaml.dump(config, sort_keys=False))


def draw_samples(
    renderer: ReferenceRenderer, options: argparse.Namespace, step: int, lora: Path | None
) -> None:
    """Render every prompt at this step and save it as AI Toolkit does: JPEG, quality 75, 4:2:0."""
    samples = options.out / options.name / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    for index, line in enumerate(PROMPTS):
        prompt, *flags = line.replace("[trigger]", TRIGGER).split(" --")
        given = dict(flag.split(" ", 1) for flag in flags)
        request = RenderRequest(
            base=Base(path=str(options.checkpoint.resolve())),
            pipeline="builtin",
            dtype="bf16",
            lora=None if lora is None else Lora(lora, hashlib.sha256(lora.read_bytes()).hexdigest(), 1.0),
            prompt=prompt,
            neg="",
            width=128,
            height=128,
            seed=int(given.get("seed", 42)),
            sample_steps=int(given.get("steps", options.sample_steps)),
            guidance_scale=float(given.get("cfg", 4)),
        )
        image = Image.fromarray(renderer.render(request).image)
        image.save(samples / f"{time.time_ns() // 1_000_000}__{step:09d}_{index}.jpg")


def train(options: argparse.Namespace) -> Path:
    """Train, saving and sampling on the way; return the job folder."""
    torch.manual_seed(0)
    job: Path = options.out / options.name
    models, tokenizers = load(options.checkpoint), Tokenizers(options.checkpoint)
    latents, text, pooled = read_pictures(options.pictures, models, tokenizers)
    parameters = add_lora(models.transformer)
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=1e-5)
    factor = network.shift_factor(latents.shape[1])
    renderer = ReferenceRenderer(device="cpu")
    write_config(job, options)
    draw_samples(renderer, options, 0, None)
    for step in range(1, options.steps + 1):
        rows = torch.randint(len(latents), (options.batch,))
        sigmas = network.shift(torch.randn(options.batch).sigmoid(), factor)
        noise = torch.randn(latents[rows].shape)
        x = torch.lerp(latents[rows], noise, sigmas.view(-1, 1, 1))
        guidance = torch.ones(options.batch)
        out = network.velocity(models.transformer, x, sigmas, (text[rows], pooled[rows]), guidance)
        loss = (out - (noise - latents[rows])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
        if step % options.sample_every == 0 or step == options.steps:
            last = step == options.steps
            file = job / (f"{options.name}.safetensors" if last else f"{options.name}_{step:09d}.safetensors")
            save_lora(models.transformer, file, options.name, step)
            draw_samples(renderer, options, step, file)
    return job


def main(arguments: list[str] | None = None) -> None:
    """Draw the pictures if asked to, then train."""
    options = parse(arguments)
    if options.draw_pictures is not None:
        draw_pictures(options.draw_pictures, options.pictures)
    print(f"job folder: {train(options)}")


if __name__ == "__main__":
    main()
