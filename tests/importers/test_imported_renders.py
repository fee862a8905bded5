"""Imported settings are the trainer's: re-runs of its own previews, whatever the job was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.metrics.pixels import psnr
from harness.pipeline.bf16_products import has_bf16_kernels
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from tests.importers.job_edits import by_stem
from tests.importers.shared_jobs import shared_job

SAME, IDENTICAL = 34.0, 400.0
"""dB: a valid re-run on another kind of processor, and what stands for no difference at all."""

Compare = Callable[..., float]


@pytest.fixture(scope="module")
def compare(renderer: ReferenceRenderer) -> Compare:
    """Return how near the re-run of a case is to its preview, in dB; keywords change the request."""

    def make(case: Case, **changes: object) -> float:
        request = request_of(case, RunOptions(device="cpu"), "cpu")
        changes = {"t5_attention": "sdpa", **changes}  # that of transformers 5.24, which made these previews
        image = renderer.render(dataclasses.replace(request, **changes)).image  # type: ignore[arg-type]
        found = psnr(load_rgb(case.preview_path), Codec.of(case.preview_path).apply(image))
        return IDENTICAL if found is None else found

    return make


def test_a_literal_trigger(tmp_path: Path, compare: Compare) -> None:
    job = shared_job("cached_trigger", tmp_path, "0.9.3")
    for case in import_job(job, out=tmp_path / "cases").cases:
        replaced = case.settings.prompt.replace("[trigger]", "inkprint")
        assert compare(case) >= SAME > compare(case, prompt=replaced) + 5


def test_a_negative_seed(tmp_path: Path, compare: Compare) -> None:
    (case,) = import_job(shared_job("negative_seed", tmp_path), out=tmp_path / "cases").cases
    assert compare(case) >= SAME > compare(case, seed=42) + 5


def test_fp16_with_all_of_t5_cast(tmp_path: Path, genuine: Callable[[str], Path], compare: Compare) -> None:
    case = import_job(genuine("ink_fp16"), out=tmp_path / "cases").cases[0]
    assert case.encoder_dtype == "fp16"
    cast, loaded = compare(case), compare(case, encoder_dtype=None)
    assert cast >= SAME
    assert loaded != cast
    if cast == IDENTICAL:
        assert 55 < loaded < 70


@pytest.mark.parametrize("job", ["ink_lokr", "ink_ctrl", "ink_q_uint4"])
def test_what_can_be_rerun_of_jobs_that_cannot(
    tmp_path: Path, genuine: Callable[[str], Path], compare: Compare, job: str
) -> None:
    cases = by_stem(import_job(genuine(job), out=tmp_path / "cases"))
    if job == "ink_lokr":
        assert compare(cases["000000000_1"]) >= SAME
        assert "is a LoKr file" in str(cases["000000010_1"].incomparable)
    elif job == "ink_ctrl":
        assert compare(cases["000000010_3"]) >= SAME
        assert "control image (ctrl/cat.png)" in str(cases["000000010_0"].incomparable)
        assert "control image (ctrl/cat.inpaint.png)" in str(cases["000000010_2"].incomparable)
    else:
        assert cases["000000000_0"].trained.qtype == "uint4"
        assert compare(cases["000000000_0"]) < SAME
        assert compare(cases["000000000_0"], quantize="uint4") >= SAME


def test_torchaos_float8_is_rendered_as_the_trainer_did(
    tmp_path: Path, genuine: Callable[[str], Path], compare: Compare
) -> None:
    pytest.importorskip("torchao", reason="needs torchao: pip install flex2-harness[quantizers]")
    case = import_job(genuine("ink_q_float8"), out=tmp_path / "cases").cases[0]
    assert compare(case, quantize="float8") >= SAME
    assert compare(case, quantize="qfloat8") < SAME


def test_a_resumed_job_under_both_configs(
    tmp_path: Path, genuine: Callable[[str], Path], compare: Compare
) -> None:
    job = genuine("ink_resumed")
    now = by_stem(import_job(job, out=tmp_path / "now"))
    old = by_stem(import_job(job, out=tmp_path / "old", config=job / "config.before.yaml", steps="0-20"))
    assert compare(now["000000030_0"]) >= (SAME if has_bf16_kernels() else SAME - 1)
    for name in ("000000000_0", "000000020_2"):
        assert compare(old[name]) >= SAME > compare(now[name]) + 5


def test_a_size_that_the_reference_floors(tmp_path: Path, job: Path, renderer: ReferenceRenderer) -> None:
    case = import_job(job, out=tmp_path / "cases", steps="0").cases[0]
    small = case.model_copy(
        update={"settings": case.settings.model_copy(update={"width": 112, "height": 144, "sample_steps": 2})}
    )
    request = request_of(small, RunOptions(device="cpu"), "cpu")
    assert renderer.render(request).image.shape == (128, 96, 3)
    assert renderer.render(dataclasses.replace(request, divisor=16)).image.shape == (144, 112, 3)
    own = small.model_copy(update={"divisor": 16})
    assert request_of(own, RunOptions(device="cpu"), "cpu").divisor == 16
