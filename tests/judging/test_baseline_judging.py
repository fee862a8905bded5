from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judging.baseline import environment_key
from harness.judging.baseline_judging import against_baseline
from harness.judging.baseline_store import BaselineStore
from harness.judging.verdict import DEFAULT_TOLERANCE, OTHER_ENVIRONMENT, SAME_ENVIRONMENT
from harness.metrics.scores import Scores
from harness.runs.accept import accept_row
from harness.runs.rescore import judge_again
from harness.schema.result import Verdict
from tests.judging.rows import CPU, H100, XEON, accepted, row, scores


def test_bit_equal_is_said_first() -> None:
    judged = against_baseline(row(), accepted(row()))
    assert judged.verdict is Verdict.MATCH
    assert judged.reason.startswith("bit-equal to its baseline")


def test_a_changed_image_within_limits_is_never_silent() -> None:
    changed = row(scores(0.994), image="b", attention="flash", environment={**CPU, "threads": 4})
    judged = against_baseline(changed, accepted(row()))
    assert judged.verdict is Verdict.MATCH
    assert judged.reason.startswith("match (changed)")
    assert "attention native → flash" in judged.reason
    assert "threads none → 4" in judged.reason


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (scores(0.9769), "SSIM 0.9769 was 0.9950 (margin 0.018)"),
        (scores(0.995, lpips=0.0051), "LPIPS 0.0051 was 0.0010"),
        (scores(0.995, psnr=35.9), "PSNR 35.9 was 45.0"),
        (scores(float("nan")), "SSIM nan was"),
    ],
)
def test_worse_by_more_than_the_margin_is_a_regression(now: Scores, said: str) -> None:
    judged = against_baseline(row(now, image="b"), accepted(row()))
    assert judged.verdict is Verdict.REGRESSION
    assert said in judged.reason


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("c", "c", "the latents are the accepted ones, the decoded image is not"),
        ("c", "d", "the latents are not the accepted ones: it changed before decoding"),
        (None, "d", "the image is not the accepted one"),
        ("c", None, "the image is not the accepted one"),
    ],
)
def test_the_latents_tell_denoising_from_decoding(before: str | None, now: str | None, said: str) -> None:
    entries = accepted(row().model_copy(update={"latents_sha256": before}))
    changed = row(scores(0.994), image="b").model_copy(update={"latents_sha256": now})
    judged = against_baseline(changed, entries)
    assert judged.verdict is Verdict.MATCH
    assert said in judged.reason
    worse = row(scores(0.976), image="b").model_copy(update={"latents_sha256": now})
    regressed = against_baseline(worse, entries)
    assert regressed.verdict is Verdict.REGRESSION
    assert said in regressed.reason


def test_an_equal_image_from_other_latents_is_said() -> None:
    entries = accepted(row().model_copy(update={"latents_sha256": "c"}))
    judged = against_baseline(row().model_copy(update={"latents_sha256": "d"}), entries)
    assert judged.reason.startswith("bit-equal to its baseline (its latents are not)")


def test_an_accepted_drift_stays_a_drift_and_is_known() -> None:
    drifted = row(scores(0.9, psnr=30.0))
    judged = against_baseline(drifted, accepted(drifted))
    assert judged.verdict is Verdict.DRIFT
    assert judged.known
    better = against_baseline(row(image="b"), accepted(drifted))
    assert better.verdict is Verdict.MATCH
    assert not better.known


def test_without_a_baseline_a_match_is_incomparable_and_a_drift_stays() -> None:
    assert against_baseline(row(), {}).verdict is Verdict.INCOMPARABLE
    assert against_baseline(row(scores(0.9)), {}).verdict is Verdict.DRIFT


def test_another_environment_has_a_wider_margin() -> None:
    entries = accepted(row())
    within = row(scores(0.988), image="b", environment=H100, device="cuda")
    judged = against_baseline(within, entries)
    assert judged.verdict is Verdict.MATCH
    assert judged.baseline is not None
    assert not judged.baseline.same_environment
    assert "baseline of cpu-linux-x86-64-avx512" in judged.reason
    beyond = row(scores(0.995 - OTHER_ENVIRONMENT.ssim - 0.001), image="b", environment=H100)
    assert against_baseline(beyond, entries).verdict is Verdict.REGRESSION
    assert SAME_ENVIRONMENT.ssim < OTHER_ENVIRONMENT.ssim


def test_of_several_other_machines_the_strictest_baseline_counts() -> None:
    """The most lenient would be the nearest: a regression could hide behind it."""
    lenient, strict = row(scores(0.96)), row(scores(0.995), environment=XEON)
    regressed = row(scores(0.95), image="b", environment=H100)
    assert against_baseline(regressed, accepted(lenient)).verdict is Verdict.DRIFT
    judged = against_baseline(regressed, accepted(lenient) | accepted(strict))
    assert judged.verdict is Verdict.REGRESSION
    assert f"worse than its baseline of {environment_key(XEON)}" in judged.reason


def test_no_metric_hides_behind_a_baseline_with_a_better_ssim() -> None:
    better_ssim, better_lpips = row(scores(0.995, lpips=0.009)), row(scores(0.99), environment=XEON)
    blurred = row(scores(0.994, lpips=0.02), image="b", environment=H100)
    judged = against_baseline(blurred, accepted(better_ssim) | accepted(better_lpips))
    assert judged.verdict is Verdict.REGRESSION
    assert "LPIPS 0.0200 was 0.0010 (margin 0.0145)" in judged.reason


def test_a_drift_accepted_on_one_other_machine_is_not_accepted_where_another_accepted_a_match() -> None:
    known, matched = row(scores(0.96)), row(scores(0.98), environment=XEON)
    now = row(scores(0.955), image="b", environment=H100)
    assert against_baseline(now, accepted(known)).known
    assert not against_baseline(now, accepted(known) | accepted(matched)).known


def test_the_very_image_that_another_machine_accepted_is_no_regression() -> None:
    known, matched = row(scores(0.9)), row(scores(0.995), image="b", environment=XEON)
    judged = against_baseline(row(scores(0.9), environment=H100), accepted(known) | accepted(matched))
    assert judged.reason.startswith("bit-equal to its baseline")
    assert judged.known


def test_another_machines_baseline_of_the_case_before_it_was_edited_is_passed_over() -> None:
    (current,) = accepted(row(scores(0.99))).items()
    ((machine, (entry,)),) = accepted(row(environment=XEON)).items()
    stale = [entry.model_copy(update={"settings": {**entry.settings, "seed": 7}})]
    now = row(image="b", environment=H100)
    assert against_baseline(now, {machine: stale}).verdict is Verdict.INCOMPARABLE
    assert against_baseline(now, dict([current, (machine, stale)])).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("unsound", "said"),
    [({"dtype": "fp16"}, "dtype bf16 → fp16"), ({"noise": "legacy"}, "noise current → legacy")],
)
def test_another_environment_and_another_computation_cannot_be_compared(
    unsound: dict[str, str], said: str
) -> None:
    judged = against_baseline(row(image="b", environment=H100, **unsound), accepted(row()))
    assert judged.verdict is Verdict.INCOMPARABLE
    assert judged.reason.startswith(
        "no baseline for cuda-nvidia-h100-80gb-hbm3, and none that can be compared "
        f"(cpu-linux-x86-64-avx512: {said}); against its preview: match"
    )


def test_an_edited_case_is_not_the_accepted_one() -> None:
    now = row()
    now = now.model_copy(update={"settings": {**now.settings, "seed": 7}})
    judged = against_baseline(now, accepted(row()))
    assert judged.verdict is Verdict.INCOMPARABLE
    assert "seed 0 → 7" in judged.reason
    assert judged.baseline is None


def test_an_error_stays_an_error_and_is_never_accepted(tmp_path: Path) -> None:
    failed = row().model_copy(update={"verdict": Verdict.ERROR, "reason": "the pipeline failed"})
    assert against_baseline(failed, accepted(row())).verdict is Verdict.ERROR
    assert accept_row(failed, BaselineStore(tmp_path), reason="no") is None
    assert not list(tmp_path.iterdir())


@given(now=st.floats(-1, 1), before=st.floats(-1, 1))
def test_a_regression_is_exactly_a_loss_beyond_the_margin(now: float, before: float) -> None:
    judged = against_baseline(row(scores(now), image="b"), accepted(row(scores(before))))
    assert (judged.verdict is Verdict.REGRESSION) == (round(before, 6) - now > SAME_ENVIRONMENT.ssim)


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (60.0, 45.0, Verdict.MATCH),
        (None, 45.0, Verdict.MATCH),
        (None, 38.9, Verdict.REGRESSION),
        (48.1, 38.9, Verdict.REGRESSION),
        (48.1, None, Verdict.MATCH),
    ],
)
def test_a_psnr_that_nobody_sees_is_no_loss(
    before: float | None, now: float | None, verdict: Verdict
) -> None:
    judged = against_baseline(
        row(scores(0.995, psnr=now), image="b"), accepted(row(scores(0.995, psnr=before)))
    )
    assert judged.verdict is verdict
    if verdict is Verdict.REGRESSION:
        assert f"PSNR 38.9 was {before or 'inf'} (margin 9)" in judged.reason


def test_a_rescored_row_keeps_to_its_baseline() -> None:
    worse = against_baseline(row(scores(0.98), image="b"), accepted(row(scores(0.999))))
    assert judge_again(worse, DEFAULT_TOLERANCE).verdict is Verdict.REGRESSION
