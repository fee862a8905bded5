"""The three genuine jobs, imported and re-run at full settings on the CPU: one run per job.

Of the simple job, the previews without a LoRA and those of the last step; of legacy, those of one step; of
q8, all. The steps between are left out to save time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.pipeline.bf16_products import has_bf16_kernels
from harness.runs.plan import RunOptions
from harness.runs.run import RunResult, run_cases
from harness.schema.result import Row, Verdict

STEPS = {"simple": "0,30", "q8": "all", "legacy": "20"}
Rows = dict[tuple[int, int], Row]


def rows_of(result: RunResult) -> Rows:
    return {
        (row.description.preview.step or 0, row.description.preview.index or 0): row for row in result.rows
    }


@pytest.fixture(scope="module")
def rerun(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Rows]:
    made: dict[str, Rows] = {}

    def once(name: str) -> Rows:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            cases = import_job(jobs[name], out=folder / "cases", steps=STEPS[name]).cases
            made[name] = rows_of(run_cases(cases, out=folder / "run", options=RunOptions(device="cpu")))
        return made[name]

    return once


def psnr(row: Row) -> float:
    assert row.pixels is not None
    return float("inf") if row.pixels.identical else float(row.psnr or 0)


@pytest.fixture(scope="module")
def simple(rerun: Callable[[str], Rows]) -> Rows:
    return rerun("simple")


@pytest.fixture(scope="module")
def q8(rerun: Callable[[str], Rows]) -> Rows:
    return rerun("q8")


@pytest.fixture(scope="module")
def legacy(rerun: Callable[[str], Rows]) -> Rows:
    return rerun("legacy")


def test_simple_with_a_lora_is_the_preview_but_for_fuse_arithmetic(simple: Rows) -> None:
    trained = [row for (step, _), row in simple.items() if step > 0]
    assert len(trained) == 4
    for row in trained:
        assert psnr(row) >= 42, row.case
        assert row.ssim is not None
        assert row.ssim >= (0.99 if has_bf16_kernels() else 0.985), row.case
        assert row.verdict is Verdict.MATCH


def test_simple_at_step_0_isolates_everything_but_the_lora(simple: Rows) -> None:
    """Identity needs the processor that made a preview: tests/genuine/test_identity.py holds it there."""
    untrained = [row for (step, _), row in simple.items() if step == 0]
    assert len(untrained) == 4
    for row in untrained:
        assert row.rendered is not None
        assert row.rendered.lora_mode == "none"
        assert row.pixels is not None
        assert row.ssim is not None
        assert psnr(row) >= 41, row.case
        assert row.ssim >= 0.99, row.case
        assert row.verdict is Verdict.MATCH


def test_codec_matching_explains_most_of_the_raw_distance(simple: Rows) -> None:
    for row in simple.values():
        assert row.raw is not None
        assert row.raw.psnr is not None
        assert row.codec_floor is not None
        assert row.codec_floor.psnr is not None
        assert 33 <= row.raw.psnr <= 38, row.case
        assert 0.945 <= row.raw.ssim <= 0.967, row.case
        assert psnr(row) >= row.raw.psnr + 5, row.case
        assert abs(row.codec_floor.psnr - row.raw.psnr) < 1, row.case


def test_q8_without_its_checkpoint_cannot_be_compared(q8: Rows) -> None:
    pruned = [q8[10, index] for index in range(3)]
    for row in pruned:
        assert row.verdict is Verdict.INCOMPARABLE
        assert "checkpoint of step 10 is missing" in row.reason
        assert row.rendered is None
        assert row.scores is None


def test_q8_rerun_in_plain_bf16_differs_by_its_quantization(q8: Rows) -> None:
    """Scores of the same re-run on another machine: 30.2 to 37.4 dB, SSIM .954 to .979, codec-matched.

    The default limits see most of it, not all: 7 of the 12 drift.
    """
    compared = [row for (step, _), row in q8.items() if step != 10]
    assert len(compared) == 12
    assert sum(row.verdict is Verdict.DRIFT for row in compared) >= 6
    for row in compared:
        assert row.description.trained.quantize
        assert row.description.trained.qtype == "qfloat8"
        assert 30.2 - 1 <= psnr(row) <= 37.4 + 1, row.case
        assert row.ssim == pytest.approx((0.954 + 0.979) / 2, abs=0.0125 + 0.005), row.case
        assert row.raw is not None
        assert 29.1 - 1 <= float(row.raw.psnr or 0) <= 34.3 + 1, row.case


def test_legacy_is_another_picture(legacy: Rows) -> None:
    """Its previews were drawn from the noise of torch 2.9.1: the same seed, another picture."""
    assert len(legacy) == 3
    for row in legacy.values():
        assert row.verdict is Verdict.DRIFT
        assert row.ssim is not None
        assert row.ssim < 0.6, row.case
        assert psnr(row) < 16, row.case
        assert row.lpips is not None
        assert row.lpips > 0.2, row.case
        assert row.description.trained.quantize
        assert row.rendered is not None
        assert row.rendered.noise == "current"
