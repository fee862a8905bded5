"""The checkpoint's parts: how they are shaped, made, tokenized for and written in diffusers' layout."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.schema.spec import FLEX2

SCHEDULER = dict(FLEX2.scheduler)
TEXT_WIDTH = 160
POOLED_WIDTH = 128
T5_TOKENS = 512
CLIP_TOKENS = 77
WORDS_FILE = Path(__file__).with_name("words.txt")
_WORD_SCORE = -5.0
_MODULATIONS = (["norm1"], ["norm1_context"], ["norm"], ["norm_out"])


@dataclass
class Models:
    """The four trained networks."""

    vae: Any
    transformer: Any
    text_encoder: Any
    text_encoder_2: Any

    def parts(self) -> dict[str, nn.Module]:
        """Return the networks under diffusers' component names."""
        return dict(vars(self))

    def to(self, device: str) -> Models:
        """Move all networks to a device and return them."""
        for part in self.parts().values():
            part.to(device)
        return self


def make_models(t5_vocabulary: int, clip_vocabulary: int, eos: int) -> Models:
    """Return the networks with fresh weights, in fp32; seed torch first."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=128,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    transformer = FluxTransformer2DModel(
        in_channels=196,
        out_channels=64,
        num_layers=4,
        num_single_layers=1,
        attention_head_dim=80,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(16, 32, 32),
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=clip_vocabulary,
            hidden_size=POOLED_WIDTH,
            intermediate_size=2 * POOLED_WIDTH,
            projection_dim=POOLED_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CLIP_TOKENS,
            bos_token_id=eos - 1,
            eos_token_id=eos,
            pad_token_id=eos,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=t5_vocabulary,
            d_model=TEXT_WIDTH,
            d_kv=40,
            d_ff=2 * TEXT_WIDTH,
            num_layers=3,
            num_heads=4,
            relative_attention_max_distance=16,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
    start_as_identity(transformer)
    for encoder in (clip, t5):  # fused attention with T5's position bias broke on a GPU at large batches
        encoder.set_attn_implementation("eager")
    return Models(vae, transformer, clip, t5)


def start_as_identity(transformer: Any) -> None:
    """Zero modulation and output: blocks start as the identity (adaLN-zero, Peebles and Xie 2023)."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and (name == "proj_out" or name.split(".")[-2:-1] in _MODULATIONS):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def read_words() -> list[str]:
    """Return the words that the T5 tokenizer knows whole: all that captions hold, and some to spare."""
    return WORDS_FILE.read_text(encoding="utf-8").split()


def write_tokenizers(template: Path, words: list[str], out: Path) -> None:
    """Copy the tokenizers of ``template`` and teach the T5 one ``words`` as whole pieces."""
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(template / name, out / name, dirs_exist_ok=True)
    file = out / "tokenizer_2" / "tokenizer.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    pieces = data["model"]["vocab"]
    known = {piece for piece, _ in pieces}
    pieces.extend([f"▁{word}", _WORD_SCORE] for word in words if f"▁{word}" not in known)
    for number, token in enumerate(data["added_tokens"][3:]):
        token["id"] = len(pieces) + number
    file.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")


class Tokenizers:
    """Both tokenizers of a checkpoint folder, giving fixed-length ids."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPTokenizer, T5TokenizerFast

        self.clip = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.t5 = T5TokenizerFast.from_pretrained(folder / "tokenizer_2")

    def encode(
        self, captions: list[str], t5_tokens: int, clip_tokens: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return T5 ids (N × t5_tokens) and CLIP ids (N × clip_tokens), both int16."""
        options: dict[str, Any] = {"padding": "max_length", "truncation": True}
        t5 = self.t5(captions, max_length=t5_tokens, **options).input_ids
        clip = self.clip(captions, max_length=clip_tokens, **options).input_ids
        return np.array(t5, dtype=np.int16), np.array(clip, dtype=np.int16)


def export(models: Models, tokenizers: Path, out: Path) -> None:
    """Write the checkpoint in diffusers' layout with bf16 weights.

    Args:
        tokenizers: folder that holds ``tokenizer`` and ``tokenizer_2``.
    """
    import copy

    from diffusers import FlowMatchEulerDiscreteScheduler

    for name, part in models.parts().items():
        copied: Any = copy.deepcopy(part).cpu().to(torch.bfloat16)
        weights = copied.state_dict()
        if name == "text_encoder":  # transformers before 5.6 reads CLIP by these names only
            plain = {key.removeprefix("text_model."): weight for key, weight in weights.items()}
            weights = {f"text_model.{key}": weight for key, weight in plain.items()}
        copied.save_pretrained(out / name, state_dict=weights, safe_serialization=True)
    FlowMatchEulerDiscreteScheduler(**SCHEDULER).save_pretrained(out / "scheduler")
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(tokenizers / name, out / name, dirs_exist_ok=True)
    index = {
        "_class_name": "FluxPipeline",
        "_diffusers_version": "0.33.0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
