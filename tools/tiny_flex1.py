"""Make a Flex.1-shaped checkpoint of the drawing one: 64 channels, stock FluxPipeline.

    python tools/tiny_flex1.py FOLDER

Nothing is trained. Flex.2's conditions are blank in a text-to-image render: zeros, and ones for the mask. So
the first layer's columns of the latents stay, those of the mask become part of its bias, and the others go:
the checkpoint draws what the one that it was made of draws, up to rounding.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from harness.schema.spec import MODELS

SOURCE = Path(__file__).parents[1] / "harness/data/checkpoints/tiny-flex2-emoji"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def make(folder: Path) -> None:
    """Write the checkpoint into ``folder``, which must not exist."""
    wide, narrow = MODELS["flex2"], MODELS["flex1"]
    shutil.copytree(SOURCE, folder)
    transformer = folder / "transformer"
    weights = load_file(transformer / WEIGHTS)
    first = weights["x_embedder.weight"]
    mask = first[:, 2 * wide.out_channels : wide.in_channels - wide.out_channels]
    weights["x_embedder.bias"] = weights["x_embedder.bias"] + mask.float().sum(dim=1).to(first.dtype)
    weights["x_embedder.weight"] = first[:, : narrow.in_channels].contiguous()
    save_file(weights, transformer / WEIGHTS, metadata={"format": "pt"})
    _edit(transformer / "config.json", in_channels=narrow.in_channels, out_channels=None)
    _edit(folder / "model_index.json", _class_name="FluxPipeline")


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)
