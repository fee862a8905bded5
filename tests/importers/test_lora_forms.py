"""Which keys a LoRA may have: what diffusers applies is accepted and named, the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.schema.lora_file import inspect_lora
from tests.importers.lora_files import (
    GOOD,
    A,
    B,
    alphas,
    refused,
    rewrite,
    to_comfyui,
    to_down_up,
    to_kohya,
    write,
)

MIXTURE = "lora_transformer_transformer_blocks_0"


@pytest.fixture(scope="module")
def shipped(jobs: dict[str, Path]) -> Path:
    return jobs["inkprint"] / "emoji_inkprint.safetensors"


def test_ai_toolkits_own_form_needs_no_note(shipped: Path) -> None:
    lora = inspect_lora(shipped)
    assert (lora.form, len(lora.modules), set(lora.scales.values()), lora.notes) == ("peft", 62, {1.0}, ())


def test_kohya(shipped: Path, tmp_path: Path) -> None:
    path = rewrite(shipped, tmp_path / "k.safetensors", rename=to_kohya, extra=alphas(shipped, 8, to_kohya))
    lora = inspect_lora(path)
    assert (lora.form, len(lora.modules), set(lora.scales.values())) == ("kohya", 34, {1.0})
    assert lora.modules["transformer_blocks.0.ff.net.0.proj"] == (8, 160, 640)
    assert lora.modules["single_transformer_blocks.0.proj_out"] == (8, 800, 160)
    (note,) = lora.notes
    assert note.startswith("the LoRA is not in AI Toolkit's form: kohya keys (lora_unet_…) are converted")
    assert "(34)" in note


def test_kohya_layers_of_several_modules(tmp_path: Path) -> None:
    def layer(name: str, rank: int, out: int) -> dict[str, list[int]]:
        return {f"{name}.lora_down.weight": [rank, 3072], f"{name}.lora_up.weight": [out, rank]}

    shapes = layer("lora_unet_double_blocks_7_txt_attn_qkv", 2, 9216)
    shapes |= layer("lora_unet_single_blocks_37_linear1", 2, 21504)
    lora = inspect_lora(write(tmp_path / "k.safetensors", shapes))
    assert lora.modules == {
        **{f"transformer_blocks.7.attn.add_{x}_proj": (2, 3072, 3072) for x in "qkv"},
        **{f"single_transformer_blocks.37.attn.to_{x}": (2, 3072, 3072) for x in "qkv"},
        "single_transformer_blocks.37.proj_mlp": (2, 3072, 12288),
    }
    said = refused(write(tmp_path / "a.safetensors", layer("lora_unet_single_blocks_0_linear1", 2, 100)))
    assert "has 100 rows, which diffusers cannot split into single_transformer_blocks.0.attn.to_q" in said


def test_lora_down_and_lora_up(shipped: Path, tmp_path: Path) -> None:
    lora = inspect_lora(rewrite(shipped, tmp_path / "d.safetensors", rename=to_down_up))
    assert (lora.form, lora.modules) == ("down-up", inspect_lora(shipped).modules)
    assert "lora_down and lora_up are read as lora_A and lora_B (62)" in lora.notes[0]


def test_one_matrix_under_two_names_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", GOOD | {A.replace("lora_A", "lora_down"): [2, 6]})
    said = refused(path)
    assert f"holds {A} and transformer.x.attn.to_q.lora_down.weight, which are the same" in said


def test_diffusers_modules_under_kohyas_prefix_are_not_said_to_be_applied(
    shipped: Path, tmp_path: Path
) -> None:
    def flat(key: str) -> str:
        module, _, end = key.removeprefix("transformer.").partition(".lora_")
        return f"lora_unet_{module.replace('.', '_')}.lora_{'down' if end[0] == 'A' else 'up'}.weight"

    said = refused(rewrite(shipped, tmp_path / "f.safetensors", rename=flat))
    assert "of which diffusers loads nothing" in said
    assert said.endswith("kohya's lora_unet_double_blocks_… and lora_unet_single_blocks_…")


def test_comfyui_keys_are_converted_only_with_lora_down(shipped: Path, tmp_path: Path) -> None:
    def down(key: str) -> str | None:
        name = to_comfyui(key)
        return name and to_down_up(name)

    lora = inspect_lora(rewrite(shipped, tmp_path / "c.safetensors", rename=down))
    assert (lora.form, len(lora.modules)) == ("comfyui", 34)
    said = refused(rewrite(shipped, tmp_path / "d.safetensors", rename=to_comfyui))
    assert "has ComfyUI's keys (diffusion_model.double_blocks.0.img_attn.proj.lora_A.weight" in said
    assert "and 65 more), of which diffusers loads nothing" in said


@pytest.mark.parametrize(
    ("alpha", "rename", "scale", "note"),
    [
        (4, lambda key: key, 0.5, "alpha keys scale it by 0.5"),
        (8, lambda key: key, 1.0, None),
        (4, to_down_up, 1.0, "diffusers ignores in this form"),
        (4, to_kohya, 1.0, "alpha keys scale it by 0.5"),
    ],
)
def test_alpha(
    shipped: Path, tmp_path: Path, alpha: float, rename: object, scale: float, note: str | None
) -> None:
    assert callable(rename)
    extra = alphas(shipped, alpha, rename)
    lora = inspect_lora(rewrite(shipped, tmp_path / "a.safetensors", rename=rename, extra=extra))
    assert set(lora.scales.values()) == {scale}
    assert note is None or note in " ".join(lora.notes)
    assert note is not None or lora.notes == ()


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 0.5),
        ({"lora_alpha": 8}, 1.0),
        ({"lora_alpha": 8, "use_rslora": True}, 8**0.5),
        ({"use_rslora": True}, 2**0.5),
    ],
)
def test_scale_of_the_header(shipped: Path, tmp_path: Path, changes: dict[str, object], scale: float) -> None:
    lora = inspect_lora(rewrite(shipped, tmp_path / "a.safetensors", metadata=adapter(changes)))
    assert list(lora.scales.values()) == pytest.approx([scale] * 62)
    assert any(f"scales it by {scale:.4g}" in note for note in lora.notes) == (scale != 1)


def adapter(changes: dict[str, object]) -> dict[str, str]:
    """Return the metadata that diffusers saves: rank 8, alpha 4."""
    config = {"r": 8, "lora_alpha": 4, "target_modules": ["attn.to_k"], **changes}
    return {
        "lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})
    }


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"lora_adapter_metadata": "{}"}, "names no transformer.target_modules"),
        ({"lora_adapter_metadata": "[]"}, "names no transformer.target_modules"),
        ({"lora_adapter_metadata": "hi"}, "names no transformer.target_modules"),
        ({"lora_adapter_metadata": '{"target_modules": ["x"]}'}, "names no transformer.target_modules"),
        (adapter({"r": 4}), "says rank 4, and the weights have rank 8"),
        (adapter({"use_dora": True}), "sets use_dora, which is more than one scale"),
        (adapter({"alpha_pattern": {"x": 2}}), "sets alpha_pattern"),
        (adapter({"rank_pattern": {"x": 2}}), "sets rank_pattern"),
        (adapter({"r": 0}), "has r 0 and lora_alpha 4"),
        (adapter({"lora_alpha": "4"}), "has r 8 and lora_alpha '4'"),
    ],
)
def test_headers_that_diffusers_cannot_load(
    shipped: Path, tmp_path: Path, metadata: dict[str, str], said: str
) -> None:
    line = refused(rewrite(shipped, tmp_path / "a.safetensors", metadata=metadata))
    assert f"__metadata__.lora_adapter_metadata: {said}" in line


def test_header_that_says_null_says_nothing(shipped: Path, tmp_path: Path) -> None:
    path = rewrite(shipped, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": "null"})
    assert set(inspect_lora(path).scales.values()) == {1.0}


def test_header_beside_alpha_keys(shipped: Path, tmp_path: Path) -> None:
    extra = alphas(shipped, 4, lambda key: key)
    path = rewrite(shipped, tmp_path / "a.safetensors", extra=extra, metadata=adapter({}))
    assert "diffusers refuses both together" in refused(path)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("lora_magnitude_vector", (160,), "is a DoRA file (transformer.x.lora_magnitude_vector)"),
        ("dora_scale", (160,), "is a DoRA file (transformer.x.dora_scale): diffusers drops"),
        ("lora_B.bias", (160,), "holds biases (transformer.x.lora_B.bias): diffusers applies them too"),
        ("attn.norm_q.weight", (160,), "holds weights of the base's own norms (transformer.x.attn"),
        ("attn.norm_added_k.weight", (160,), "holds weights of the base's own norms"),
        ("norm_q.diff", (160,), "holds keys that diffusers does not apply (transformer.x.norm_q.diff)"),
        ("lokr_w1", (2, 2), "is a LoKr file (transformer.x.lokr_w1)"),
    ],
)
def test_more_than_a_lora(
    shipped: Path, tmp_path: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    extra = {f"transformer.x.{name}": np.ones(shape, np.float16)}
    line = refused(rewrite(shipped, tmp_path / "a.safetensors", extra=extra))
    assert said in line
    assert "would be ignored" not in line


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "holds no tensors"),
        (GOOD | {f"x{i}.lora_up.weight": [2, 2] for i in range(5)}, "x2.lora_up.weight and 2 more"),
        ({A.removeprefix("transformer."): [2, 6]}, "of which diffusers loads nothing"),
        ({f"base_model.model.{A}": [2, 6]}, "has PEFT's own keys"),
        ({"lora_te1_text_model.lora_down.weight": [2, 2], **GOOD}, "holds layers of a text encoder"),
        ({"lora_unet_img_in.lora_down.weight": [2, 2]}, "of which diffusers loads nothing"),
        ({"lora_unet_double_blocks_19_img_mlp_0.lora_down.weight": [2, 2]}, "is a LoRA of another model"),
        ({f"{MIXTURE}_ff_net_2.lora_down.weight": [2, 2]}, "diffusers loads nothing"),
        ({f"{MIXTURE}_attn_to_q.lora_{side}.weight": [2, 2] for side in ("down", "up")}, "has no alpha"),
        ({A: [2, 6]}, "transformer.x.attn.to_q: has only one of lora_A and lora_B"),
        ({A: [2, 6], B: [4, 3]}, "lora_A [2, 6] and lora_B [4, 3]"),
        ({A: [2, 6, 1, 1], B: [4, 2, 1, 1]}, "lora_A [2, 6, 1, 1]"),
        ({A: [2, 6], B: [4, 2], A.replace("lora_A.weight", "alpha"): [2]}, "has an alpha of shape [2]"),
    ],
)
def test_files_that_do_not_load(tmp_path: Path, shapes: dict[str, list[int]], said: str) -> None:
    assert said in refused(write(tmp_path / "a.safetensors", shapes))
