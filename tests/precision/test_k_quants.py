"""K-quants: ggml's own bits, which layers of a model get them, and who tries them.

``tests/data/k_quants.npz`` holds hard weights and what ggml 0.13.1 stores of them, by the library that the
x86-64 wheel of pywhispercpp 1.5.1 brings, and what diffusers 0.42.1 unpacks of it in fp16.
``tools/k_quant_answers.py`` wrote it, and compares more weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from harness.data import CHECKPOINTS
from harness.pipeline.quantize import quantize_part
from harness.precision import k_quants
from harness.precision.audit import audit
from harness.precision.k_quants import BLOCK, K_QUANTS, k_quant
from harness.precision.layer_types import layer_quantizer
from harness.precision.rounding import rounded
from harness.schema.quantizers import NAMED_ALONE, other_mixture

ANSWERS = Path(__file__).parent.parent / "data" / "k_quants.npz"
ERROR = {"Q2_K": 0.30, "Q3_K": 0.152, "Q4_K": 0.072, "Q5_K": 0.037, "Q6_K": 0.018}
"""Relative error on normally distributed weights, rounded up."""


@pytest.fixture(scope="module")
def answers() -> dict[str, torch.Tensor]:
    with np.load(ANSWERS) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize("kind", K_QUANTS)
def test_a_k_quant_has_the_bits_of_ggml(kind: str, answers: dict[str, torch.Tensor]) -> None:
    made = k_quant(answers["weights"], kind)
    wrong = (made != answers[kind]).any(1).nonzero().flatten().tolist()
    assert not wrong, f"blocks {wrong} differ"


@pytest.mark.parametrize("kind", K_QUANTS)
def test_a_k_quant_is_unpacked_in_fp16_to_the_bits_of_diffusers(
    kind: str, answers: dict[str, torch.Tensor]
) -> None:
    made, wanted = k_quant(answers["weights"], kind, torch.float16), answers[f"{kind} in fp16"]
    assert torch.equal(made, wanted.float())
    assert not torch.equal(made, answers[kind].half().float()), "rounding once would do"


@pytest.mark.parametrize("kind", K_QUANTS)
def test_unpacking_in_bf16_rounds_the_scales_too(kind: str, answers: dict[str, torch.Tensor]) -> None:
    made, wanted = k_quant(answers["weights"], kind, torch.bfloat16), answers[f"{kind} in bf16"]
    assert torch.equal(made, wanted)
    assert not torch.equal(made, answers[f"{kind} in fp16"].bfloat16().float())


@pytest.mark.parametrize("kind", K_QUANTS)
def test_pieces_and_rows_of_several_blocks_change_nothing(
    kind: str, answers: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = answers["weights"][:63].reshape(-1, 3 * BLOCK)
    monkeypatch.setitem(k_quants.PIECE, "cpu", 7 * BLOCK)
    assert torch.equal(k_quant(wide, kind).view(-1, BLOCK), answers[kind][:63])


@pytest.mark.parametrize("kind", K_QUANTS)
def test_the_error_is_that_of_the_bits(kind: str) -> None:
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(3)).mul(0.05).bfloat16()
    made = k_quant(weight, kind)
    assert made.dtype == weight.dtype
    error = float((made.float() - weight.float()).norm() / weight.float().norm())
    assert 0.8 * ERROR[kind] < error < ERROR[kind]


def test_rows_that_are_no_whole_blocks_are_stored_as_fp16() -> None:
    weight = torch.tensor([[1.0009765625, 1.00048828125, 1e-8, -3.0] * 40])
    assert k_quant(weight, "Q4_K")[0, :4].tolist() == [1.0009765625, 1.0, 0.0, -3.0]
    assert torch.equal(rounded("gguf_q4_k", weight), k_quant(weight, "Q4_K"))


@pytest.mark.parametrize("name", sorted(NAMED_ALONE))
def test_every_name_has_its_type(name: str, answers: dict[str, torch.Tensor]) -> None:
    kind = name.removeprefix("gguf_")[:4].upper()
    assert torch.equal(rounded(name, answers["weights"][:8]), answers[kind][:8])


LAYERS = {
    "x_embedder": (None, None),
    "context_embedder": (None, None),
    "time_text_embed.timestep_embedder.linear_1": (None, None),
    "norm_out.linear": (None, None),
    "proj_out": (None, None),
    "transformer_blocks.7.attn.to_k": ("gguf_q4_k", "gguf_q5_k"),
    "transformer_blocks.0.attn.add_v_proj": ("gguf_q4_k", "gguf_q5_k"),
    "transformer_blocks.0.attn.to_out.0": ("gguf_q4_k", "gguf_q4_k_m"),
    "transformer_blocks.0.ff.net.2": ("gguf_q4_k", "gguf_q4_k_m"),
    "transformer_blocks.0.norm1_context.linear": ("gguf_q4_k", "gguf_q4_k_m"),
    "single_transformer_blocks.3.attn.to_q": ("gguf_q4_k", "gguf_q4_k_m"),
    "single_transformer_blocks.3.proj_out": ("gguf_q4_k", "gguf_q4_k_m"),
    "encoder.block.0.layer.0.SelfAttention.q": ("gguf_q4_k", "gguf_q4_k_m"),
}
"""By layer, its quantizer in a file of one type and in the mixture Q4_K_M."""


@pytest.mark.parametrize(("layer", "wanted"), LAYERS.items())
def test_a_file_holds_several_types(layer: str, wanted: tuple[str | None, str | None]) -> None:
    assert tuple(layer_quantizer(name, layer) for name in ("gguf_q4_k", "gguf_q4_k_m")) == wanted
    assert layer_quantizer("uint4", layer) == "uint4"
    assert (layer_quantizer("gguf_q8_0", layer) is None) == (wanted[0] is None)


def test_a_name_without_s_or_m_may_be_either() -> None:
    assert other_mixture("gguf_q4_k-transformer") == "gguf_q4_k_m-transformer"
    assert other_mixture("gguf_q5_k_m") == "gguf_q5_k"
    assert {other_mixture(each) for each in ("none", "gguf_q6_k-te", "gguf_q8_0", "uint4")} == {None}


def test_the_layers_of_a_model_are_quantized_as_the_converter_does() -> None:
    model = FluxTransformer2DModel.from_pretrained(CHECKPOINTS / "tiny-flex2" / "transformer")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    quantize_part(model, "gguf_q3_k")
    after = dict(model.named_parameters())
    wide = "transformer_blocks.1.ff.net.2.weight"
    assert torch.equal(after[wide], k_quant(before[wide], "Q3_K", torch.float16))
    changed = {name for name, weight in before.items() if not torch.equal(after[name], weight)}
    assert wide in changed
    assert not [name for name in changed if layer_quantizer("gguf_q3_k", name) is None]


def test_an_audit_rounds_each_layer_as_the_file_holds_it(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    names = ("transformer_blocks.0.attn.to_k", "single_transformer_blocks.0.proj_out", "proj_out")
    base, lora = {}, {}
    for name in names:
        base[f"{name}.weight"] = torch.randn(64, BLOCK, generator=generator).mul(0.02).bfloat16()
        for side, shape in (("A", (4, BLOCK)), ("B", (64, 4))):
            lora[f"transformer.{name}.lora_{side}.weight"] = torch.randn(shape, generator=generator) * 0.02
    save_file(base, tmp_path / "base.safetensors")
    save_file(lora, tmp_path / "lora.safetensors")
    kinds = ("gguf_q4_k_m", "gguf_q4_k", "gguf_q5_k", "fp8_e4m3fn")
    found = audit(tmp_path / "lora.safetensors", base=tmp_path / "base.safetensors", quantizers=kinds)
    layers = {layer.module: layer.applied for layer in found.layers}
    for way in ("fused", "merged"):
        assert layers[names[0]]["gguf_q4_k_m", way] == layers[names[0]]["gguf_q5_k", way]
        assert layers[names[1]]["gguf_q4_k_m", way] == layers[names[1]]["gguf_q4_k", way]
        assert layers[names[0]]["gguf_q5_k", way].cosine > layers[names[0]]["gguf_q4_k", way].cosine
        assert layers[names[2]]["gguf_q4_k", way] == layers[names[2]]["none", "fused"]
    assert layers[names[2]]["fp8_e4m3fn", "merged"].share < 0.9
