"""``harness audit``: what survives, in rows read one piece at a time, against whole weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from harness.cli.app import app
from harness.errors import CheckpointError, LoraError
from harness.precision import availability
from harness.precision import row_blocks as row_blocks_module
from harness.precision.audit import Audit, audit
from harness.precision.audit_text import left_out, losses, sentences
from harness.precision.base_modules import base_modules
from harness.precision.key_audit import audit_keys
from harness.precision.rounding import rounded
from harness.precision.row_blocks import row_blocks
from harness.precision.survival import Survival
from harness.precision.weights_file import is_gguf
from harness.report.audit_page import histograms
from harness.schema.lora_header import Tensor
from tests.importers.lora_files import rewrite

MODULE = "transformer_blocks.0.ff.net.2"
FP8 = ("fp8_e4m3fn",)


@pytest.fixture(scope="module")
def lora(jobs: dict[str, Path]) -> Path:
    return max(jobs["inkprint"].glob("*.safetensors"))


@pytest.fixture(scope="module")
def weights(tiny: Path) -> dict[str, torch.Tensor]:
    file = next((tiny / "transformer").glob("*.safetensors"))
    return {name: weight.bfloat16() for name, weight in load_file(file).items()}


@pytest.fixture(scope="module")
def audited(lora: Path, tiny: Path) -> Audit:
    return audit(lora, base=tiny, quantizers=FP8)


def comfy_file(weights: dict[str, torch.Tensor], out: Path, dtype: torch.dtype) -> Path:
    """Write the blocks in Black Forest Labs' naming, in which q, k and v are one weight."""
    joined = {
        "double_blocks.{}.img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "double_blocks.{}.txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "double_blocks.{}.img_mlp.2": ("ff.net.2",),
        "single_blocks.{}.linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    }
    made: dict[str, torch.Tensor] = {}
    for name, parts in joined.items():
        blocks = "single_transformer_blocks" if name.startswith("single") else "transformer_blocks"
        for index in range(1 if name.startswith("single") else 4):
            stacked = torch.cat([weights[f"{blocks}.{index}.{part}.weight"] for part in parts])
            made[f"model.diffusion_model.{name.format(index)}.weight"] = stacked.to(dtype)
    save_file(made, out)
    return out


def only(lora: Path, out: Path, *modules: str) -> Path:
    return rewrite(
        lora, out, rename=lambda key: key if any(f".{name}.lora" in key for name in modules) else None
    )


def test_pieces_give_the_sums_of_whole_weights(
    lora: Path, audited: Audit, weights: dict[str, torch.Tensor]
) -> None:
    tensors = load_file(lora)
    a, b = (tensors[f"transformer.{MODULE}.lora_{side}.weight"].float() for side in "AB")
    weight, exact = weights[f"{MODULE}.weight"], b @ a
    before = rounded("fp8_e4m3fn", weight).float()
    after = rounded("fp8_e4m3fn", (before + exact).bfloat16()).float()
    change = after - before
    found = next(layer for layer in audited.layers if layer.module == MODULE)
    merged = found.applied["fp8_e4m3fn", "merged"]
    assert merged.share == pytest.approx(float((change * exact).sum() / exact.square().sum()), rel=1e-4)
    assert merged.moved_share == pytest.approx(float((change != 0).double().mean()))
    assert found.change == pytest.approx(float(exact.square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize("name", ["fp8_scaled", "nvfp4"])
def test_a_scale_for_a_tensor_is_that_of_the_weight_that_is_rounded(
    lora: Path, tiny: Path, weights: dict[str, torch.Tensor], name: str
) -> None:
    tensors = load_file(lora)
    a, b = (tensors[f"transformer.{MODULE}.lora_{side}.weight"].float() for side in "AB")
    weight, exact = weights[f"{MODULE}.weight"], b @ a
    before = rounded(name, weight).float()
    ways = {"fused": weight + exact, "merged": before + exact}
    for rows in (None, 64):
        found = audit(lora, base=tiny, quantizers=[name], rows=rows)
        layer = next(each for each in found.layers if each.module == MODULE)
        for way, wanted in ways.items():
            moved = (rounded(name, wanted.bfloat16()).float() != before).double().mean().item()
            near = 1e-9 if rows is None else 0.05
            assert layer.applied[name, way].moved_share == pytest.approx(moved, abs=near)  # type: ignore[index]


def test_rounding_to_nearest_loses_what_rounding_at_random_keeps(audited: Audit) -> None:
    total = audited.total
    assert total["none", "live"].share == pytest.approx(1, abs=1e-3)
    kept = total["fp8_e4m3fn", "stochastic"].share
    assert kept == pytest.approx(1, abs=0.01)
    assert total["fp8_e4m3fn", "merged"].share < kept - 0.02
    assert total["fp8_e4m3fn", "merged"].cosine > total["fp8_e4m3fn", "stochastic"].cosine
    shares = [layer.worst for layer in audited.layers]
    assert shares == sorted(shares)


def test_a_loss_says_what_was_measured_of_such_a_one() -> None:
    lost = {
        ("fp8_e4m3fn", "merged"): Survival(agreement=0.69, change=1, exact=1, weights=1),
        ("nf4", "fused"): Survival(agreement=0.98, change=1, exact=1, weights=1),
        ("fp8_e4m3fn", "fused"): Survival(agreement=1, change=1, exact=1, weights=1),
    }
    found = Audit(Path("a.safetensors"), 1.0, (), total=lost)
    merged, fused = losses(found)
    assert "rounds away 31% of this LoRA; expect a picture that is off by about 26% of the LoRA's" in merged
    assert fused.endswith("rounds away 2% of this LoRA")
    assert found.to_json()["findings"][0]["expected"]["renders"] == 30


def test_a_sample_of_rows_is_near_all_rows(lora: Path, tiny: Path, audited: Audit) -> None:
    sampled = audit(lora, base=tiny, quantizers=FP8, rows=64)
    for key, each in audited.total.items():
        assert sampled.total[key].share == pytest.approx(each.share, abs=0.03)
        assert sampled.total[key].weights < each.weights / 2


def test_threads_change_no_number(
    lora: Path, tiny: Path, audited: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threads in (1, 7):
        monkeypatch.setattr("os.cpu_count", lambda count=threads: count)
        assert audit(lora, base=tiny, quantizers=FP8).to_json() == audited.to_json()


@pytest.mark.parametrize("rows", [None, 24])
def test_what_is_read_ahead_is_what_is_measured(
    tiny: Path, rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = base_modules(tiny)[MODULE]
    monkeypatch.setitem(row_blocks_module.MAX_BLOCK, "cpu", 5 * weight.columns)
    read = torch.cat([block for _, block in row_blocks(weight, rows, "cpu")])
    wanted = list(row_blocks_module.extents(weight, rows))
    data = weight.stored.file.read_bytes()
    ahead = b"".join(data[extent.begin : extent.end] for extent in wanted)
    assert torch.equal(torch.frombuffer(bytearray(ahead), dtype=read.dtype).view(read.shape), read)
    assert len(wanted) == (1 if rows is None else 8)


def test_a_file_for_comfyui_is_the_same_base(
    lora: Path, audited: Audit, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    base = comfy_file(weights, tmp_path / "base.safetensors", torch.bfloat16)
    held = ("attn.to_q", "attn.add_v_proj", "ff.net.2", "proj_mlp")
    found = audit(only(lora, tmp_path / "part.safetensors", *held), base=base, quantizers=FP8)
    whole = {layer.module: layer for layer in audited.layers}
    assert len(found.layers) == 14
    for layer in found.layers:
        assert layer.applied["fp8_e4m3fn", "merged"] == whole[layer.module].applied["fp8_e4m3fn", "merged"]


def test_a_scaled_float8_base_is_read_as_what_it_means(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weight = weights[f"{MODULE}.weight"]
    scale = weight.float().abs().amax() / 448
    stored = {
        f"{MODULE}.weight": (weight.float() / scale).to(torch.float8_e4m3fn),
        f"{MODULE}.scale_weight": scale,
    }
    save_file(stored, tmp_path / "fp8.safetensors")
    module = base_modules(tmp_path / "fp8.safetensors")[MODULE]
    read = torch.cat([block for _, block in row_blocks(module, None, "cpu")])
    assert torch.equal(read, rounded("fp8_scaled", weight.float()).bfloat16())


def test_a_lora_of_another_shape_is_refused(
    lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    save_file({f"{MODULE}.weight": weights[f"{MODULE}.weight"][:8].contiguous()}, base)
    with pytest.raises(LoraError, match="the base has"):
        audit(lora, base=base)
    base.write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        audit(lora, base=base)


def test_histograms_count_every_layer(audited: Audit) -> None:
    made = histograms(audited)
    assert len(made) == len(audited.total)
    assert all(each.summary.startswith(f"{len(audited.layers)} layers keep") for each in made)


def test_what_cannot_run_here_is_named(lora: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "_is_installed", lambda module: module != "gguf")
    found = audit(lora, base=tiny, quantizers=("gguf_q8_0",))
    assert next(left_out(found)) == "gguf_q8_0 is left out: needs gguf, which is not installed"


def test_a_strength_that_is_no_number_is_refused(lora: Path) -> None:
    done = CliRunner().invoke(app, ["audit", str(lora), "--multiplier", "nan"])
    assert done.exit_code == 2
    assert "nan is no finite number" in done.output


@pytest.mark.parametrize("with_base", [False, True])
def test_a_lora_of_zeros_is_said_to_change_nothing(
    lora: Path, tiny: Path, tmp_path: Path, *, with_base: bool
) -> None:
    """100 % of it survived every quantizer."""
    weights = load_file(lora)
    zeros = {key: torch.zeros_like(weight) if "lora_B" in key else weight for key, weight in weights.items()}
    save_file(zeros, tmp_path / "zeros.safetensors")
    found = audit(tmp_path / "zeros.safetensors", base=tiny if with_base else None, quantizers=FP8)
    assert found.is_zero
    assert found.to_json()["is_zero"]
    *_, last = sentences(found)
    assert last == "it changes nothing: lora_A or lora_B of every layer is zero, as before the first step"


def test_ai_toolkit_applies_the_lokr_that_it_saves() -> None:
    module = "transformer.single_transformer_blocks.0.attn.to_k"
    ends = ("alpha", "lokr_w1", "lokr_w2_a", "lokr_w2_b")
    lokr = {f"{module}.{end}": Tensor("F32", (1, 1)) for end in ends}
    diffusers, comfy, trainer = audit_keys(Path("lokr.safetensors"), lokr)
    assert diffusers.refused is not None
    assert len(comfy.applied) == len(trainer.applied) == 4
    plain = {f"{module}.{end}": Tensor("F32", (1, 1)) for end in ("alpha", "lora_A.weight")}
    assert audit_keys(Path("lora.safetensors"), plain)[2].ignored == (f"{module}.alpha",)


BLOCK, OUTER = (
    "transformer.transformer_blocks.0.attn.to_q",
    "transformer.time_text_embed.text_embedder.linear_1",
)
OLD, ONETRAINER = f"{BLOCK}.lora.down.weight", "lora_transformer_transformer_blocks_0"


@pytest.mark.parametrize(
    ("keys", "diffusers", "comfyui"),
    [
        ([f"{OUTER}.lora_{side}.weight" for side in "AB"], 2, 2),
        ([f"{BLOCK}.lora_{side}.weight" for side in "AB"] + ["transformer.foo.lora_A.weight"], 2, 2),
        ([OLD, OLD.replace("down", "up")], 2, 2),
        ([OLD, OLD.replace("down", "up"), f"{BLOCK[:-1]}k.lora_A.weight"], 1, 3),
        ([f"lora_unet_{name}.lora_down.weight" for name in ("img_in", "double_blocks_0_img_attn_qkv")], 1, 2),
        (["diffusion_model.final_layer.linear.lora_down.weight"], 0, 1),
        (["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"], 0, 1),
        ([f"{ONETRAINER}_ff_net_2.{end}" for end in ("lora_down.weight", "lora_up.weight", "alpha")], 0, 3),
        ([f"{ONETRAINER}_attn_to_q.lora_{side}.weight" for side in ("down", "up")], 0, 2),
        (["lora_transformer_x_embedder.alpha", "lora_transformer_x_embedder.lora_down.weight",
          "lora_transformer_x_embedder.lora_up.weight"], 3, 3),
    ],
)  # fmt: skip
def test_a_loader_applies_the_layers_that_it_knows(keys: list[str], diffusers: int, comfyui: int) -> None:
    shapes = {"alpha": (), "up.weight": (8, 2), "B.weight": (8, 2)}

    def tensor(key: str) -> Tensor:
        return Tensor("F32", next((shape for end, shape in shapes.items() if key.endswith(end)), (2, 8)))

    found = audit_keys(Path("a.safetensors"), {key: tensor(key) for key in keys})
    assert [len(each.applied) for each in found[:2]] == [diffusers, comfyui]


def with_weight(weights: dict[str, torch.Tensor], out: Path, **changed: torch.Tensor) -> Path:
    """Write a base in which some of ``MODULE``'s tensors are others."""
    save_file({**weights, **{f"{MODULE}.{name}": tensor for name, tensor in changed.items()}}, out)
    return out


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_base_without_a_number_is_refused(
    lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path, number: float
) -> None:
    weight = weights[f"{MODULE}.weight"].clone()
    weight[3, 5] = number
    base = with_weight(weights, tmp_path / "base.safetensors", weight=weight)
    with pytest.raises(CheckpointError, match=f"{MODULE}: holds weights that are NaN"):
        audit(lora, base=base, quantizers=FP8)


def test_scales_for_blocks_are_refused(lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    small = weights[f"{MODULE}.weight"].to(torch.float8_e4m3fn)
    base = with_weight(weights, tmp_path / "base.safetensors", weight=small, weight_scale=torch.ones(2, 5))
    with pytest.raises(CheckpointError, match=r"has a scale of shape \[2, 5\] for a weight of"):
        audit(lora, base=base, quantizers=FP8)


@pytest.mark.parametrize(
    ("end", "said", "fix"),
    [
        ("wscales", "as nunchaku's SVDQuant packs them", "audit the unquantized base"),
        ("weight._data", "as optimum-quanto packs them", "with --quantize qfloat8"),
        ("weight.quant_state.bitsandbytes__nf4", "in bitsandbytes' nf4", "with --quantize nf4"),
        ("SCB", "in bitsandbytes' 8 bits", "with --quantize bnb_int8"),
        ("weight_scale_2", "in nvfp4", "with --quantize nvfp4"),
        ("weight_scale_inv", "in float8 with a scale for each block", "audit the unquantized base"),
        ("orbit_packed", "as AI Toolkit's orbit quantizers pack them", "with --quantize orbit4"),
    ],
)
def test_weights_that_a_library_packed_are_refused(
    lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path, end: str, said: str, fix: str
) -> None:
    base = with_weight(weights, tmp_path / "base.safetensors", **{end: torch.zeros(4, dtype=torch.uint8)})
    with pytest.raises(CheckpointError, match=re.escape(f"{MODULE}.{end}: holds weights {said}")) as caught:
        audit(lora, base=base, quantizers=FP8)
    assert caught.value.fix is not None
    assert caught.value.fix.endswith(fix)


def test_a_type_that_is_not_read_is_named_before_its_shape(
    lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    packed = torch.zeros(64, 80, dtype=torch.uint8)
    base = with_weight(weights, tmp_path / "base.safetensors", weight=packed)
    with pytest.raises(CheckpointError, match="is of dtype U8"):
        audit(lora, base=base, quantizers=FP8)


def test_a_model_that_lacks_a_file_is_refused(
    lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "model-00002-of-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 2 of 3 files of the model \(model-00001-of-00003"):
        audit(lora, base=tmp_path, quantizers=FP8)


def test_a_weight_that_a_quantizer_breaks_keeps_nothing(
    lora: Path, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weight = weights[f"{MODULE}.weight"].clone()
    weight[3] = 0  # optimum-quanto divides a row by its largest value
    base = with_weight(weights, tmp_path / "base.safetensors", weight=weight)
    found = audit(only(lora, tmp_path / "one.safetensors", MODULE), base=base, quantizers=["qfloat8"])
    assert found.total["qfloat8", "fused"].share == 0
    assert "nan" not in " ".join(sentences(found)).lower()
    assert histograms(found)


def test_a_change_that_no_sum_holds_is_not_measured(lora: Path, tiny: Path, tmp_path: Path) -> None:
    huge = rewrite(lora, tmp_path / "huge.safetensors", rename=lambda _: None, extra={
        f"transformer.{MODULE}.lora_A.weight": np.full((2, 640), 1e18, np.float32),
        f"transformer.{MODULE}.lora_B.weight": np.full((160, 2), 1e18, np.float32),
    })  # fmt: skip
    found = audit(huge, base=tiny, quantizers=FP8)
    assert str(found.unread).startswith(f"changes {MODULE} by 2e+36")
    assert not found.layers


def test_a_lora_whose_alpha_is_zero_changes_nothing(lora: Path, tiny: Path, tmp_path: Path) -> None:
    one = only(lora, tmp_path / "one.safetensors", MODULE)
    zero = rewrite(
        one, tmp_path / "zero.safetensors", extra={f"transformer.{MODULE}.alpha": np.array(0, np.float32)}
    )
    found = audit(zero, base=tiny, quantizers=FP8)
    assert found.is_zero
    assert any("it changes nothing" in line for line in sentences(found))


def test_a_gguf_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"GGUF....")
    (tmp_path / "b.safetensors").write_bytes(b"{}......")
    assert is_gguf(tmp_path / "a.bin")
    assert is_gguf(tmp_path / "A.GGUF")
    assert not is_gguf(tmp_path / "b.safetensors")
    assert not is_gguf(tmp_path)
