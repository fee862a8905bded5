"""Write a random-weight checkpoint of Flex.2's real shape: honest timings and bit-equality, no pictures.

    python benchmarks/make_full_size.py FOLDER [--layers 1]

8.16 B parameters of transformer, 4.76 B of T5-XXL; about 26 GB on disk in bf16. Wants a GPU to be quick.
Tokenizers and scheduler are the embedded checkpoint's. ``--layers`` writes fewer of each kind of block: what
is compiled for it serves the whole one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

TINY = Path(__file__).parent.parent / "harness" / "data" / "checkpoints" / "tiny-flex2-emoji"
SEED = 0
LAYERS = 38
"""Blocks of a kind that Flex.2 has at most."""


def transformer(layers: int) -> FluxTransformer2DModel:
    """Flex.2's transformer: 8 double and 38 single blocks, 24 heads of 128, 196 channels in, 64 out."""
    return FluxTransformer2DModel(
        in_channels=196,
        out_channels=64,
        num_layers=min(layers, 8),
        num_single_layers=min(layers, 38),
        attention_head_dim=128,
        num_attention_heads=24,
        joint_attention_dim=4096,
        pooled_projection_dim=768,
        guidance_embeds=True,
        axes_dims_rope=(16, 56, 56),
    )


def vae(_layers: int) -> AutoencoderKL:
    """The 16-channel, factor-8 autoencoder of the FLUX family."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=1024,
    )


def clip(layers: int) -> CLIPTextModel:
    """CLIP-L's text encoder, with the tiny tokenizer's special tokens."""
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=min(layers, 12),
            num_attention_heads=12,
            vocab_size=49408,
            projection_dim=768,
            bos_token_id=978,
            eos_token_id=979,
            pad_token_id=979,
        )
    )


def t5(layers: int) -> T5EncoderModel:
    """T5-XXL's encoder."""
    return T5EncoderModel(
        T5Config(
            d_model=4096,
            d_ff=10240,
            d_kv=64,
            num_heads=64,
            num_layers=min(layers, 24),
            vocab_size=32128,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


MAKERS = {"transformer": transformer, "vae": vae, "text_encoder": clip, "text_encoder_2": t5}


def write(folder: Path, layers: int, name: str) -> str:
    """Write one part of the checkpoint; return what it is."""
    torch.manual_seed(SEED)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model: Any = MAKERS[name](layers).to(torch.bfloat16)
    model.save_pretrained(folder / name)
    return f"{name}: {sum(weight.numel() for weight in model.parameters()) / 1e9:.2f} B parameters"


def main() -> None:
    """Write the checkpoint, each part by a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS, help="at most so many blocks of each kind")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(len(MAKERS), multiprocessing.get_context("spawn")) as parts:
        for said in parts.map(partial(write, folder, options.layers), MAKERS):
            print(said, flush=True)
    for name in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(TINY / name, folder / name)
    index = json.loads((TINY / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
