"""Train the embedded checkpoint that draws: composed emoji scenes on a tiny Flex.2-shaped model.

One command, fixed seeds, a wall-clock budget. Stages: autoencoder, bank of encoded scenes, flow, guidance.
The pictures are drawn from icons of an npm package (MIT): ``npm install @iconify-json/fluent-emoji-flat``.

    python tools/train_tiny.py --icons node_modules/@iconify-json/fluent-emoji-flat --out runs/tiny
    python tools/train_tiny.py --icons … --out runs/tiny --smoke        # seconds, on a CPU: does it run?

A stopped run goes on with ``--resume``. The result is ``OUT/checkpoint`` in diffusers' layout, and
``OUT/grid.png`` of prompts whose words were trained and whose combination was not.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from tinyflex import autoencoder, bank, flow, icons, network
from tinyflex.components import Models, Tokenizers, export, make_models, read_words, write_tokenizers
from tinyflex.compose import Compositor
from tinyflex.scenes import held_out_prompts
from tinyflex.session import Session

TEMPLATE = Path(__file__).parent.parent / "harness" / "data" / "checkpoints" / "tiny-flex2"
SHARES = {"autoencoder": 0.24, "flow": 0.52, "distil": 0.24}
PREVIEWS = 8


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        scenes: scenes in the bank.
        batch: scenes a step of the flow.
        prompts: prompts in the grid.
        steps: sampling steps of a picture in the grid.
        pictures: crops a step of the autoencoder.
    """

    scenes: int = 200_000
    batch: int = 2048
    prompts: int = 40
    steps: int = 25
    pictures: int = 64


SMOKE = Plan(scenes=16, batch=8, prompts=2, steps=2, pictures=4)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--icons", type=Path, help="installed icon package: a folder with icons.json and info.json"
    )
    parser.add_argument(
        "--data", type=Path, help="compact icon file; made from --icons when absent (OUT/icons.npz)"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder: state, log, checkpoint, grid")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda")
    )
    parser.add_argument(
        "--minutes", type=float, default=13.5, help="training budget, bank and export not counted"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    parser.add_argument("--no-compile", action="store_true", help="every kernel on its own (slower)")
    parser.add_argument(
        "--rate", type=float, default=2e-3, help="peak learning rate of the flow (default %(default)s)"
    )
    parser.add_argument("--math-attention", action="store_true", help="no fused attention kernels (slower)")
    parser.add_argument(
        "--scenes", type=int, default=Plan.scenes, help="scenes in the bank (default %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=Plan.batch, help="scenes a flow step (default %(default)s)"
    )
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that only shows that it runs")
    return parser.parse_args(arguments)


def read_icons(options: argparse.Namespace) -> icons.Atlas:
    """Load the compact icon file, or make it from the package."""
    file = options.data or options.out / "icons.npz"
    if not file.is_file():
        if options.icons is None:
            raise SystemExit(f"{file}: no such file; give --icons FOLDER of an installed icon package")
        nouns = icons.read_nouns()[:4] if options.smoke else None
        icons.save_atlas(icons.rasterise(options.icons, nouns), file)
    return icons.load_atlas(file)


@torch.no_grad()
def draw_grid(
    models: Models,
    tokenizers: Tokenizers,
    prompts: list[str],
    guidance: float,
    file: Path,
    steps: int,
) -> None:
    """Render the prompts, eight in a row, and write one picture."""
    device = next(models.transformer.parameters()).device
    t5, clip = tokenizers.encode(prompts, 512, 77)
    ids = (torch.from_numpy(t5).to(device), torch.from_numpy(clip).to(device))
    latents = bank.unpack(network.sample(models, ids, guidance, steps=steps), 16, 16)
    latents = latents / models.vae.config.scaling_factor + models.vae.config.shift_factor
    pixels = ((models.vae.decode(latents).sample.clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
    across = min(8, len(prompts))
    down = len(prompts) // across
    pixels = pixels[: across * down].reshape(down, across, 3, 128, 128).permute(0, 3, 1, 4, 2)
    Image.fromarray(pixels.reshape(down * 128, across * 128, 3).numpy()).save(file)


@torch.no_grad()
def draw_reconstructions(models: Models, compositor: Compositor, made: bank.Bank, file: Path) -> None:
    """Write scenes above their reconstructions, to see what the autoencoder keeps."""
    scenes = compositor.draw(made.scenes, torch.arange(8))
    pairs = torch.cat([scenes, models.vae.decode(models.vae.encode(scenes).latent_dist.mean).sample])
    pixels = (
        ((pairs.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().view(2, 8, 3, 128, 128).permute(0, 3, 1, 4, 2)
    )
    Image.fromarray(pixels.reshape(256, 1024, 3).numpy()).save(file)


def main(arguments: list[str] | None = None) -> None:
    """Run every stage that is not done yet, then export."""
    options = parse(arguments)
    plan = SMOKE if options.smoke else Plan(options.scenes, options.batch)
    seconds = 3.0 if options.smoke else options.minutes * 60
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.enable_flash_sdp(not options.math_attention)
    torch.backends.cuda.enable_mem_efficient_sdp(not options.math_attention)
    session = Session(options.out, options.device, options.resume)
    atlas = read_icons(options)
    compositor = Compositor(atlas, options.device)
    write_tokenizers(TEMPLATE, read_words(), options.out / "tokenizers")
    tokenizers = Tokenizers(options.out / "tokenizers")
    models = make_models(len(tokenizers.t5), len(tokenizers.clip), tokenizers.clip.eos_token_id).to(
        options.device
    )
    session.log(
        "models",
        **{f"{k}_millions": sum(p.numel() for p in v.parameters()) / 1e6 for k, v in models.parts().items()},
    )

    maker = bank.BankMaker(atlas.nouns, options.out / "tokenizers", plan.scenes, os.cpu_count() or 1)
    autoencoder.train_autoencoder(
        models.vae, compositor, maker.first(), session,
        seconds=seconds * SHARES["autoencoder"], batch=plan.pictures, peak=1e-3,
    )  # fmt: skip
    made = maker.finish()
    bank.encode_bank(made, models.vae, compositor, options.device)
    session.log("bank", scenes=len(made.scenes.captions))
    draw_reconstructions(models, compositor, made, options.out / "autoencoder.png")

    empty = tuple(torch.from_numpy(ids) for ids in tokenizers.encode([""], bank.T5_SHORT, bank.CLIP_SHORT))
    prompts = held_out_prompts(icons.read_nouns(), plan.prompts)

    def preview(now: Models, name: str) -> None:
        guidance = 4.0 if name.startswith("distil") else 1.0
        draw_grid(now, tokenizers, prompts[:PREVIEWS], guidance, options.out / f"{name}.png", plan.steps)

    trainer = flow.FlowTrainer(
        models, made, (empty[0], empty[1]), session,
        fuse=options.device == "cuda" and not options.no_compile, preview=preview,
    )  # fmt: skip
    trainer.train_flow(seconds * SHARES["flow"], plan.batch, options.rate)
    trainer.distil(seconds * SHARES["distil"], max(4, plan.batch // 2), options.rate / 2)

    export(models, options.out / "tokenizers", options.out / "checkpoint")
    for guidance in (1.0, 4.0):
        file = options.out / ("grid.png" if guidance == 4 else "grid_guidance1.png")
        draw_grid(models, tokenizers, prompts, guidance, file, plan.steps)
    (options.out / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    session.log(
        "export", peak_memory_gb=torch.cuda.max_memory_allocated() / 1e9 if options.device == "cuda" else 0.0
    )


if __name__ == "__main__":
    main()
