"""Proof by rendering: the image again, and from it to the preview one difference after the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.comparison.compare import compare
from harness.comparison.image_request import image_request
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.environment import environment
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from tests.comparison.conftest import IMAGES, case_of, requests_of, truth_of

Cases = dict[tuple[int, int], Case]


@pytest.mark.parametrize("name", ["inkprint_00003_.png", "flex2_00009_.webp"])
def test_stated_settings_give_the_image_and_the_ladder_reaches_the_preview(
    name: str, cases: Cases, renderer: ReferenceRenderer
) -> None:
    truth = truth_of(name)
    proof = compare(case_of(truth, cases), IMAGES / name, renderer=renderer).proof
    assert proof is not None
    assert proof.reached
    assert proof.psnr is None or proof.psnr > 40
    assert proof.psnr is None or environment("cpu").get("cpu_bf16") != "avx512_bf16"
    assert proof.renders <= 12
    first, *_, last = proof.rungs
    assert first.psnr is not None
    assert first.psnr < 20
    assert last.psnr is None or last.psnr > 34
    assert [rung.settings[0] for rung in proof.rungs if rung.settings and not rung.tool] == sorted(
        (each["axis"] for each in truth["differs_from_preview"]),
        key=lambda axis: axis == "network_multiplier",
    )


def test_a_picture_of_the_server_is_its_request_bit_for_bit(
    cases: Cases, renderer: ReferenceRenderer
) -> None:
    truth = truth_of("result_1.jpg")
    found = compare(
        case_of(truth, cases), IMAGES / truth["file"], request=requests_of(truth), renderer=renderer
    )
    assert found.proof is not None
    assert [row.setting for row in found.tools_own] == ["t5_attention"]
    if environment("cpu").get("cpu_bf16") == "avx512_bf16":
        assert found.proof.psnr is None
        assert [line.partition(":")[0] for line in found.remaining] == ["T5's attention"]


def test_settings_that_are_not_stated_are_searched_in_every_dialect(
    cases: Cases, renderer: ReferenceRenderer
) -> None:
    truth = truth_of("cat_clean.png")
    found = compare(case_of(truth, cases), IMAGES / truth["file"], renderer=renderer)
    assert found.dialect == "comfyui"
    assert [(row.setting, row.inference, row.source) for row in found.differences] == [
        ("network_multiplier", 0.8, "rendered")
    ]


def test_settings_that_lie_do_not_count(cases: Cases, renderer: ReferenceRenderer, tmp_path: Path) -> None:
    """The settings file says another seed than the image had: the search finds the true one."""
    said = tmp_path / "said.yaml"
    said.write_text(
        "tool: diffusers\nprompt: inkprint a large cat on a white background\nseed: 5\nsample_steps: 25\n"
        "guidance_scale: 4.0\nwidth: 128\nheight: 128\nlora: {file: emoji_inkprint.safetensors}\n"
    )
    with_seed = compare(cases[300, 0], IMAGES / "out_6.png", settings=said, renderer=renderer, budget=12)
    assert "noise" in {row.setting for row in with_seed.differences}


def test_a_stated_value_that_the_picture_refutes_is_no_difference(
    cases: Cases, renderer: ReferenceRenderer, tmp_path: Path
) -> None:
    """The search proved the preview's seed, and the stated one was listed as a difference all the same."""
    said = tmp_path / "said.yaml"
    said.write_text("tool: comfyui\nseed: 5\n")
    truth = truth_of("inkprint_00001_.png")
    found = compare(case_of(truth, cases), IMAGES / truth["file"], settings=said, renderer=renderer)
    assert found.proof is not None
    assert found.proof.reached
    assert "seed" not in {row.setting for row in found.differences}
    seed = next(row for row in found.rows if row.setting == "seed")
    assert seed.note == "stated as 5, which the picture refutes"


def test_a_base_in_few_bits_of_a_workflow_is_rendered_and_named(
    cases: Cases, renderer: ReferenceRenderer, tmp_path: Path
) -> None:
    """The workflow of a genuine picture with another weight_dtype, and what its settings give here."""
    case, source = cases[300, 0], Image.open(IMAGES / "inkprint_00002_.png")
    workflow = json.loads(source.info["prompt"])
    loader = next(node for node in workflow.values() if node["class_type"] == "UNETLoader")
    loader["inputs"]["weight_dtype"] = "fp8_e5m2"
    text, file = PngInfo(), tmp_path / "inkprint_00002_.png"
    text.add_text("prompt", json.dumps(workflow))
    source.save(file, pnginfo=text)
    stated = compare(case, file, static=True).image.settings
    request, problems = image_request(case, request_of(case, RunOptions(), "cpu"), stated)
    assert (request.quantize, request.lora_mode, problems) == ("fp8_e5m2-transformer", "stochastic", [])
    made = ReferenceRenderer(device="cpu").render(request)  # the proof has to render it once more
    Image.fromarray(made.image).save(file, pnginfo=text)
    found = compare(case, file, renderer=renderer)
    assert found.proof is not None
    assert found.proof.psnr is None
    assert [row.setting for row in found.differences] == ["guidance_scale", "quantize"]
    assert any("weight_dtype: fp8_e5m2 → a file in fp16 or bf16" in line for line in found.changes)
