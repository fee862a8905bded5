"""LoRAs of other models are named, by keys and sizes as their trainers write them; those of Flex are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import LoraError
from harness.importers.aitoolkit import import_job
from harness.precision.audit import audit
from harness.schema.lora_header import read_header
from harness.schema.lora_models import refuse_other_model
from tests.importers.lora_files import refused, write

Sizes = dict[str, tuple[int, int]]


def lora(path: Path, layers: Sizes, model: str | None = None, *, kohya: bool = False) -> Path:
    """Write a LoRA of zeros with these layers: (columns, rows) by name."""
    down, up = ("lora_down", "lora_up") if kohya else ("lora_A", "lora_B")
    shapes: dict[str, list[int]] = {}
    for name, (columns, rows) in layers.items():
        shapes |= {f"{name}.{down}.weight": [2, columns], f"{name}.{up}.weight": [rows, 2]}
        shapes |= {f"{name}.alpha": []} if kohya else {}
    return write(path, shapes, {"ss_base_model_version": model} if model else None)


def blocks(name: str, count: int, layer: str, size: tuple[int, int] = (3072, 3072)) -> Sizes:
    return {f"{name}{number}{layer}": size for number in range(count)}


UNET = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.mark.parametrize(
    ("layers", "kohya", "said"),
    [
        ({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (64, 64)}, True, "SD or SDXL"),
        (
            {"lora_te1_text_model_encoder_layers_0_mlp_fc1": (8, 8), f"lora_unet_{UNET}": (32, 32)},
            True,
            "SD or SDXL",
        ),
        ({f"unet.{UNET.replace('_0_', '.0.')}": (64, 64)}, False, "SD or SDXL"),
        (blocks("diffusion_model.blocks.", 3, ".self_attn.q"), False, "Wan"),
        (blocks("diffusion_model.blocks.", 3, ".ffn.0"), False, "Wan"),
        (blocks("lora_unet_blocks_", 3, "_cross_attn_k"), True, "Wan"),
        (blocks("diffusion_model.transformer_blocks.", 60, ".img_mlp.net.2"), False, "Qwen-Image"),
        (blocks("transformer.transformer_blocks.", 60, ".txt_mod.1"), False, "Qwen-Image"),
        (blocks("transformer.transformer_blocks.", 60, ".attn.to_q"), False, "another model"),
        (blocks("diffusion_model.double_stream_blocks.", 2, ".block.attn1.to_q"), False, "HiDream"),
        (blocks("diffusion_model.double_blocks.", 8, ".img_attn.qkv", (6144, 18432)), False, "FLUX.2"),
        (blocks("diffusion_model.single_blocks.", 20, ".linear1", (3072, 27648)), False, "FLUX.2"),
        (blocks("transformer.single_transformer_blocks.", 2, ".attn.to_qkv_mlp_proj"), False, "FLUX.2"),
        (blocks("diffusion_model.layers.", 2, ".attention.to_q"), False, "Z-Image or Lumina"),
        (blocks("transformer.transformer_blocks.", 2, ".attn1.to_q"), False, "LTX, PixArt"),
        (blocks("transformer.single_transformer_blocks.", 48, ".proj_mlp"), False, "another model"),
        (blocks("transformer.transformer_blocks.", 19, ".attn.to_q"), False, "FLUX.1"),
        ({"transformer.transformer_blocks.12.attn.to_q": (3072, 3072)}, False, "FLUX.1"),
        (blocks("lora_unet_double_blocks_", 19, "_img_attn_qkv", (3072, 9216)), True, "FLUX.1"),
        (blocks("diffusion_model.double_blocks.", 19, ".img_mlp.0", (3072, 12288)), False, "FLUX.1"),
    ],
)
def test_the_model_is_named_in_one_line(tmp_path: Path, layers: Sizes, kohya: bool, said: str) -> None:
    path = lora(tmp_path / "a.safetensors", layers, kohya=kohya)
    line = refused(path)
    assert f": is a LoRA of {said}" in line
    assert ", not of Flex.2: " in line
    with pytest.raises(LoraError, match=f"is a LoRA of {said}"):
        audit(path)


def test_flux1_is_named_by_its_double_blocks(tmp_path: Path) -> None:
    layers = blocks("transformer.transformer_blocks.", 19, ".attn.to_q")
    assert "it has double blocks up to 18, and Flex.2's end at 7" in refused(
        lora(tmp_path / "a.safetensors", layers, "flux.1")
    )
    said = refused(lora(tmp_path / "b.safetensors", layers, "chroma"))
    assert "is a LoRA of 'chroma', not of Flex.2: it has double blocks up to 18" in said


def test_metadata_name_a_model_whose_keys_say_nothing(tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors", {"diffusion_model.net.q": (8, 8)}, "krea2")
    assert "is a LoRA of 'krea2', not of Flex.2: it has keys like diffusion_model.net.q" in refused(path)


def test_a_base_is_no_lora(tmp_path: Path, tiny: Path) -> None:
    base = next((tiny / "transformer").glob("*.safetensors"))
    assert "holds a model's own weights (context_embedder.bias), and no LoRA; give a LoRA" in refused(base)


@pytest.mark.parametrize("model", [None, "flex2", "flux.1", "flux1", "something else"])
@pytest.mark.parametrize("wide", [128, 3072])
def test_loras_of_flex_are_not_named(tmp_path: Path, model: str | None, wide: int) -> None:
    for form, kohya, layers in (
        ("peft", False, blocks("transformer.transformer_blocks.", 8, ".attn.to_q", (wide, wide))),
        ("one", False, blocks("transformer.single_transformer_blocks.", 38, ".attn.to_q", (wide, wide))),
        ("kohya", True, blocks("lora_unet_single_blocks_", 38, "_linear1", (wide, 7 * wide))),
        ("comfy", False, blocks("diffusion_model.double_blocks.", 8, ".img_attn.qkv", (wide, 3 * wide))),
    ):
        path = lora(tmp_path / f"{form}.safetensors", layers, model, kohya=kohya)
        refuse_other_model(path, *read_header(path))


def test_an_import_names_the_model_of_a_checkpoint(tmp_path: Path, job: Path) -> None:
    layers = blocks("transformer.transformer_blocks.", 19, ".attn.to_q")
    lora(job / "tiny_flex2_simple_v1_000000010.safetensors", layers, "flux.1")
    found = import_job(job, out=tmp_path / "cases")
    (refusal,) = found.refused
    assert "is a LoRA of FLUX.1, not of Flex.2" in str(refusal)
