"""Calibrated limits: on which machine, torch and size they hold, and what they say elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from harness.judging.baseline import environment_key
from harness.judging.drift_origin import drift_origin
from harness.judging.tolerance_file import Environment, Measured, Proposal, ToleranceFile
from harness.judging.verdict import DEFAULT_TOLERANCE, judge, judge_variant
from harness.schema.metric_limits import Tolerance
from harness.schema.result import REFERENCE, Verdict
from tests.judging.rows import CPU, H100, row, scores

CASE = row().description
LIMITS = Proposal(
    ssim_min=0.9, lpips_max=0.1, psnr_min=None, flip_max=0.05,
    separated=[], overlap=[], margin={}, undetected=[],
)  # fmt: skip


def environment(facts: dict[str, Any], date: str = "2026-11-28", **changes: Any) -> Environment:
    evidence = [
        Measured(control=name, kind=kind, ssim=ssim, lpips=0.0, psnr=None)
        for name, kind, ssim in (("again", "noise", 0.99), ("batch", "noise", 0.98), ("seed", "signal", 0.5))
    ]
    found = Environment(
        date=date, command="", fingerprint=facts, sizes=["64×64"], all_cases=LIMITS, cases={},
        evidence={CASE.id: evidence},
    )  # fmt: skip
    return found.model_copy(update=changes)


def limits(facts: dict[str, Any], *measured: Environment, case_id: str = CASE.id) -> Tolerance:
    file = ToleranceFile(environments={environment_key(each.fingerprint): each for each in measured})
    found = file.tolerance(CASE.model_copy(update={"id": case_id}), facts)
    assert found is not None
    return found


def test_they_state_where_they_hold() -> None:
    found = limits(CPU, environment(CPU))
    where = "CPU with unknown bf16, torch 2.14.1, 64×64, calibrated 2026-11-28, all cases"
    assert (found.source, found.provisional, found.flip_max) == (where, False, 0.05)


def test_they_tell_the_worst_valid_re_run_of_their_cases() -> None:
    assert limits(CPU, environment(CPU)).noise_ssim == 0.98
    assert limits(CPU, environment(CPU), case_id="b").noise_ssim is None


@pytest.mark.parametrize(
    ("here", "measured"),
    [
        (H100, environment(CPU)),
        ({**CPU, "packages": {"torch": "2.11.0+cu130"}}, environment(CPU)),
        (CPU, environment(CPU, sizes=["1024×1024"])),
    ],
    ids=["machine", "torch", "size"],
)
def test_elsewhere_they_are_provisional_in_every_reason(here: dict[str, Any], measured: Environment) -> None:
    """So the line of the terminal says it too. Another place's noise says nothing about a set."""
    found = limits(here, measured)
    assert (found.provisional, found.noise_ssim) == (True, None)
    for ssim in (0.95, 0.8):
        _, reason = judge_variant(CASE, REFERENCE, scores(ssim).model_copy(update={"flip": 0.01}), found)
        assert reason.endswith(
            f"; limits from {measured.where}, calibrated 2026-11-28, all cases, provisional"
        )


def test_an_older_file_without_sizes_and_another_build_of_torch_hold() -> None:
    other_build = {**CPU, "packages": {"torch": "2.14.1+cpu"}}
    assert not limits(other_build, environment(CPU, sizes=[])).provisional


def test_of_several_other_machines_the_newest_is_taken() -> None:
    found = limits({"server": {"host": "x"}}, environment(CPU, "2026-11-01"), environment(H100, "2026-11-02"))
    assert found.source.startswith("NVIDIA H100 80GB HBM3, torch unknown")


def test_a_file_without_any_machine_leaves_the_default() -> None:
    assert ToleranceFile(environments={}).tolerance(CASE, CPU) is None


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [("flip_max", 0.05, 0.07), ("ssimulacra2_min", 75.0, 65.0), ("jod_min", 9.8, 9.1)],
)
def test_limits_on_other_metrics_judge_or_say_what_was_not_measured(
    limit: str, good: float, bad: float
) -> None:
    metric = limit.rpartition("_")[0]
    bounds = {"flip_max": 0.06, "ssimulacra2_min": 70.0, "jod_min": 9.5}
    tolerance = DEFAULT_TOLERANCE.model_copy(update={limit: bounds[limit]})
    found = {
        value: judge(scores(0.995).model_copy(update={metric: value}), tolerance) for value in (good, bad)
    }
    assert [verdict for verdict, _ in found.values()] == [Verdict.MATCH, Verdict.DRIFT]
    assert f"the limit {bounds[limit]:g}" in found[bad][1]
    unmeasured = judge(scores(0.995), tolerance)
    assert unmeasured == (Verdict.INCOMPARABLE, f"limits are set on what was not measured: {metric}")
    assert judge(scores(0.5), tolerance)[0] is Verdict.DRIFT


def test_a_limit_on_what_was_not_measured_does_not_make_a_drift_the_servers() -> None:
    """Against the reference only SSIM, LPIPS and PSNR are measured."""
    tolerance = DEFAULT_TOLERANCE.model_copy(update={"flip_max": 0.06})
    drift = row(scores(0.9)).model_copy(update={"tolerance": tolerance})
    near, far = (drift.model_copy(update={"against_reference": scores(ssim)}) for ssim in (0.999, 0.9))
    assert (drift_origin(near), drift_origin(far)) == ("settings", "server")
