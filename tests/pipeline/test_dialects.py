"""Renders in the dialects of other tools, against pictures that those tools made."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.importers.aitoolkit import import_job
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.pipeline.bf16_products import has_bf16_kernels
from harness.pipeline.comfy_schedules import comfy_sigmas
from harness.pipeline.dialects import COMFY_SCHEDULES, DIALECTS, in_dialect
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.runs.planned import facts_of
from harness.schema.case import Case
from harness.schema.lora_file import inspect_lora
from harness.schema.render import Dialect, Lora, RenderRequest, Shift
from tests.conftest import DATA

IMAGES = DATA / "inference_images"
TRUTHS: dict[str, dict[str, Any]] = {
    each["file"]: each for each in json.loads((IMAGES / "truths.json").read_text())["images"]
}
COMFY = [each for each in TRUTHS.values() if each["class"] == "A"]
LORA_MODES = {"fp32 merge, rounded once": "fp32", "fused": "fused", "adapter": "peft", None: None}


@pytest.fixture(scope="module")
def cases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Case]:
    found = import_job(jobs["inkprint"], out=tmp_path_factory.mktemp("cases")).cases
    return {(case.preview.step or 0, case.preview.index or 0): case for case in found}


@pytest.fixture(scope="module")
def renderer() -> Iterator[ReferenceRenderer]:
    made = ReferenceRenderer(device="cpu", engine="eager")
    yield made
    made.close()


def true_request(name: str, cases: dict[tuple[int, int], Case]) -> RenderRequest:
    """The request with everything set to what the picture was made with."""
    made, of = TRUTHS[name]["truth"], TRUTHS[name]["case"]
    case = cases[of["step"], of["index"]]
    comfy = made["schedule"].startswith("comfyui")
    dialect = DIALECTS["comfyui" if made["blank_mask"] != 1 else "forge"] if comfy else Dialect()
    if comfy:
        dialect = dataclasses.replace(dialect, schedule=f"comfy-{made['schedule'].split()[1]}")
    lora = None
    if made["lora_step"]:
        file = next(c.lora_path for (step, _), c in cases.items() if step == made["lora_step"])
        assert file is not None
        lora = Lora(file, inspect_lora(file).sha256, made["network_multiplier"])
    static = Shift(shift=math.exp(made["mu"]), dynamic_shifting=False)
    return dataclasses.replace(
        request_of(case, RunOptions(), "cpu"),
        prompt=made["prompt"],
        seed=made["seed"],
        sample_steps=made["sample_steps"],
        guidance_scale=made["guidance_scale"],
        lora=lora,
        lora_mode=LORA_MODES[made["lora_mode"]],
        shift=Shift() if made["shift_kind"] == "dynamic" else static,
        max_sequence_length=made["max_sequence_length"],
        dtype=made["dtype"],
        noise="legacy" if made["noise"] == "legacy" else "current",
        t5_attention="sdpa",
        dialect=dialect,
    )


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@pytest.mark.parametrize("truth", COMFY, ids=lambda each: each["file"])
def test_sigmas_are_those_that_reached_comfyuis_sampler(truth: dict[str, Any]) -> None:
    made = truth["truth"]
    found = comfy_sigmas(made["schedule"].split()[1], made["sample_steps"], made["mu"])
    assert found.numpy() == pytest.approx(np.array(made["sigmas"]), abs=1.1e-6)


@pytest.mark.parametrize("name", COMFY_SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 25, 150])
def test_every_schedule_falls_from_1_to_0(name: str, steps: int) -> None:
    sigmas = comfy_sigmas(name.removeprefix("comfy-"), steps, 1.15).numpy()
    assert sigmas[0] == pytest.approx(1, abs=1e-3)
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()


def test_a_picture_of_forge_is_rendered_again(
    cases: dict[tuple[int, int], Case], renderer: ReferenceRenderer
) -> None:
    request = true_request("00001-42.png", cases)
    target = load_rgb(IMAGES / "00001-42.png")
    without = dataclasses.replace(request, dialect=Dialect(), shift=Shift(), max_sequence_length=None)
    assert psnr(renderer.render(request).image, target) > 50
    assert psnr(renderer.render(without).image, target) < 20


@pytest.mark.parametrize(
    "name",
    ["inkprint_00002_.png", "inkprint_00004_.png", "ComfyUI_00005_.png", "ComfyUI_00006_.webp",
     "base_00015_.png", "out_2.png", "out_3.png", "out_6.png", "result_2.jpg"],
)  # fmt: skip
def test_a_picture_of_comfyui_a_script_or_the_server_is_rendered_bit_for_bit(
    name: str, cases: dict[tuple[int, int], Case], renderer: ReferenceRenderer
) -> None:
    from harness.runs.environment import environment

    image = Codec.of(IMAGES / name).apply(renderer.render(true_request(name, cases)).image)
    known = environment("cpu").get("cpu_bf16") == "avx512_bf16"
    found = psnr(image, load_rgb(IMAGES / name))
    least = 35 if has_bf16_kernels() else 30
    assert found == math.inf if known else found > least


def test_each_field_of_a_dialect_changes_the_picture(
    cases: dict[tuple[int, int], Case], renderer: ReferenceRenderer
) -> None:
    request = dataclasses.replace(true_request("result_0.jpg", cases), sample_steps=6, guidance_scale=3.3)
    plain = renderer.render(request)
    assert plain.rendered.dialect == {}
    changes = {**DIALECTS["comfyui"].changes(), "schedule": "comfy-beta"}
    for name, value in changes.items():
        dialect = dataclasses.replace(Dialect(), **{name: value})
        made = renderer.render(dataclasses.replace(request, dialect=dialect))
        assert made.rendered.dialect == {name: value}
        assert (made.image != plain.image).any(), name
    assert (renderer.render(request).image == plain.image).all()


def test_the_dtype_that_a_gguf_is_unpacked_in_changes_the_picture(
    cases: dict[tuple[int, int], Case], renderer: ReferenceRenderer
) -> None:
    pytest.importorskip("gguf")
    request = dataclasses.replace(
        true_request("result_0.jpg", cases), sample_steps=2, quantize="gguf_q8_0", lora_mode="unpacked"
    )
    made = {}
    for dtype in ("fp16", "bf16", "fp32"):
        made[dtype] = renderer.render(dataclasses.replace(request, dialect=Dialect(unpacking=dtype)))
        assert made[dtype].rendered.dialect == ({} if dtype == "fp16" else {"unpacking": dtype})
    assert len({render.latents_sha256 for render in made.values()}) == 3
    plain = dataclasses.replace(request, quantize="none", lora_mode="fused")
    other = dataclasses.replace(plain, dialect=Dialect(unpacking="bf16"))
    assert other.weights_key == plain.weights_key


def test_a_request_in_the_references_dialect_hashes_as_before(cases: dict[tuple[int, int], Case]) -> None:
    request = request_of(cases[300, 0], RunOptions(), "cpu")
    assert "dialect" not in facts_of(request)
    assert facts_of(in_dialect(request, "reference")) == facts_of(request)
    assert "dialect" in facts_of(in_dialect(request, "comfyui"))


def test_what_a_dialect_cannot_go_with_is_refused(
    cases: dict[tuple[int, int], Case], renderer: ReferenceRenderer
) -> None:
    request = dataclasses.replace(true_request("inkprint_00001_.png", cases), sample_steps=2)
    for change in ({"scheduler": "UniPC"}, {"dialect": Dialect(schedule="comfy-none")}):
        with pytest.raises(HarnessError):
            renderer.render(dataclasses.replace(request, **change))  # type: ignore[arg-type]
    heun = dataclasses.replace(request, scheduler="FlowMatchHeun", dialect=Dialect(latents="fp32"))
    with pytest.raises(HarnessError, match="Euler"):
        renderer.render(heun)
