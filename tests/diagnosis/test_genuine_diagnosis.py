"""What the genuine jobs were really rendered with; benchmarks/genuine_jobs.py alters them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from harness.diagnosis.answer import Diagnosis
from harness.diagnosis.diagnose import diagnose
from harness.importers.aitoolkit import import_job
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.environment import environment

CASES = {"inkprint": "000000200_1", "q8": "000000020_0", "legacy": "000000010_0"}
BUDGETS = {"inkprint": 15, "q8": 6, "legacy": 60}  # q8's recorded quantizer is rendered second


@pytest.fixture(scope="module")
def found(
    jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, fresh_renderer: ReferenceRenderer
) -> Callable[[str], Diagnosis]:
    @cache
    def once(name: str) -> Diagnosis:
        steps = "20" if name == "q8" else "all"  # alone, and within few renders: quantized ones are slow
        cases = import_job(jobs[name], out=tmp_path_factory.mktemp("genuine") / name, steps=steps).cases
        wanted = next(case for case in cases if case.id.endswith(CASES[name]))
        ran_with = {"t5_attention": "sdpa" if name == "inkprint" else None}  # transformers 5.24
        return diagnose(wanted.model_copy(update=ran_with), renderer=fresh_renderer, budget=BUDGETS[name])

    return once


def rounds_as_the_trainer_did() -> bool:
    """Whether this processor is of the kind that made the previews: one with AMX adds in another order."""
    return environment("cpu")["cpu_bf16"] not in ("amx_bf16", "fp32")


def named(diagnosis: Diagnosis) -> list[tuple[str, object]]:
    return [(cause.axis, cause.value) for cause in diagnosis.causes]


def last_psnr(diagnosis: Diagnosis) -> float:
    after = diagnosis.causes[-1].after
    assert after is not None
    return float("inf") if after.psnr is None else after.psnr


def test_a_job_that_was_rendered_as_recorded_has_nothing_to_explain(
    found: Callable[[str], Diagnosis],
) -> None:
    inkprint = found("inkprint")
    assert inkprint.explained
    assert inkprint.causes == []
    assert inkprint.step_zero is not None
    assert inkprint.step_zero.matches or (inkprint.step_zero.near and not rounds_as_the_trainer_did())


def test_q8_names_its_quantization(found: Callable[[str], Diagnosis]) -> None:
    q8 = found("q8")
    assert named(q8) == [("quantize", "qfloat8")]
    assert q8.explained
    assert q8.composition == "same"
    assert last_psnr(q8) >= 41


def test_legacy_names_the_noise_era_and_then_the_quantization(found: Callable[[str], Diagnosis]) -> None:
    legacy = found("legacy")
    assert named(legacy) == [("noise", "legacy"), ("quantize", "qfloat8")]
    assert legacy.explained
    assert legacy.composition == "different"
    assert last_psnr(legacy) >= 42
    assert legacy.step_zero is not None
    assert legacy.step_zero.settings == {"noise": "legacy", "quantize": "qfloat8"}
