from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.calibration.controls import CODEC
from harness.calibration.file import ToleranceFile
from harness.calibration.limits import noise_spread, propose
from harness.case import Base, Case, Preview, SampleSettings, Tolerance
from harness.judge import DEFAULT_TOLERANCE, SAME_ENVIRONMENT, judge, judge_sizes
from harness.runs.row import Verdict
from harness.scoring.scores import PixelStats, Scores, Tile

PACKAGE_DATA = Path(__file__).parent.parent / "harness" / "data"
LIMITS = Tolerance(ssim_min=0.9, lpips_max=0.1, psnr_min=30.0, source="test")


def scores(ssim=0.95, lpips=0.05, psnr=35.0):
    tile = Tile(x=0, y=0, size=64, mean_abs=2.0)
    pixels = PixelStats(identical=psnr is None, max_abs=9, mean_abs=1.0, changed=0.5, worst_tile=tile)
    return Scores(ssim=ssim, lpips=lpips, psnr=psnr, pixels=pixels)


def case(asked, preview):
    return Case(
        id="a/b",
        base=Base(embedded="tiny"),
        preview=Preview(file="a.jpg", sha256="0" * 64, width=preview[0], height=preview[1]),
        settings=SampleSettings(prompt="p", width=asked[0], height=asked[1]),
    )


def test_within_every_limit():
    assert judge(scores(), LIMITS) == (
        Verdict.MATCH,
        "within limits: SSIM 0.9500 ≥ 0.9, LPIPS 0.0500 ≤ 0.1, PSNR 35.00 dB ≥ 30",
    )


def test_exactly_at_the_limits_is_a_match():
    assert judge(scores(ssim=0.9, lpips=0.1, psnr=30.0), LIMITS)[0] is Verdict.MATCH


@pytest.mark.parametrize(
    ("missed", "reason"),
    [
        ({"ssim": 0.85}, "SSIM 0.8500 is 0.05 below the limit 0.9"),
        ({"lpips": 0.3}, "LPIPS 0.3000 is 0.2 above the limit 0.1"),
        ({"psnr": 27.5}, "PSNR 27.50 dB is 2.5 dB below the limit 30"),
        (
            {"ssim": 0.85, "lpips": 0.3},
            "SSIM 0.8500 is 0.05 below the limit 0.9; LPIPS 0.3000 is 0.2 above the limit 0.1",
        ),
    ],
)
def test_each_missed_limit_is_said_with_its_distance(missed, reason):
    assert judge(scores(**missed), LIMITS) == (Verdict.DRIFT, reason)


def test_a_miss_too_small_for_four_digits_still_shows():
    assert "1e-06 below" in judge(scores(ssim=0.9 - 1e-6), LIMITS)[1]


def test_bit_identical_is_said_as_such():
    verdict, reason = judge(scores(ssim=1, lpips=0, psnr=None), LIMITS)
    assert verdict is Verdict.MATCH
    assert reason.startswith("bit-identical")


def test_no_psnr_limit():
    limits = LIMITS.model_copy(update={"psnr_min": None})
    verdict, reason = judge(scores(psnr=5.0), limits)
    assert verdict is Verdict.MATCH
    assert "PSNR" not in reason


@pytest.mark.parametrize("name", ["ssim", "lpips", "psnr"])
def test_not_a_number_never_matches(name):
    assert judge(scores(**{name: math.nan}), LIMITS)[0] is Verdict.DRIFT


def test_no_scores_never_match():
    assert judge(None, LIMITS)[0] is Verdict.ERROR


def test_the_default_names_its_source():
    assert DEFAULT_TOLERANCE.source == "harness default"
    assert judge(scores(ssim=1, lpips=0, psnr=None), DEFAULT_TOLERANCE)[0] is Verdict.MATCH


def test_the_defaults_are_what_the_shipped_calibration_proposes():
    """The worst noise, for there is milder signal; the margin is twice what a kernel or a batch changes."""
    file = PACKAGE_DATA / "calibration" / "emoji_inkprint-cpu.json"
    (found,) = ToleranceFile.load(file).environments.values()
    assert propose([entry for case in found.evidence.values() for entry in case]) == found.all_cases
    assert found.all_cases.overlap == ["ssim", "lpips", "psnr"]
    assert found.all_cases.undetected == ["half the shift", "other guidance"]
    assert sum(not proposal.overlap for proposal in found.cases.values()) == 15
    for name in ("ssim_min", "lpips_max", "psnr_min"):
        assert getattr(DEFAULT_TOLERANCE, name) == getattr(found.all_cases, name)
    for name, spread in noise_spread(found.evidence.values()).items():
        assert 2 * spread <= getattr(SAME_ENVIRONMENT, name) <= 3 * spread


def test_the_defaults_tell_an_h100s_equally_valid_renders_from_wrong_ones():
    """The previews are a CPU's: the limits hold across that border too, but for a second codec generation."""
    file = PACKAGE_DATA / "calibration" / "tiny_flex2_simple_v1-h100.json"
    (found,) = ToleranceFile.load(file).environments.values()
    measured = [entry for case in found.evidence.values() for entry in case]
    verdicts = {
        (entry.kind, judge(scores(ssim=entry.ssim, lpips=entry.lpips, psnr=entry.psnr), DEFAULT_TOLERANCE)[0])
        for entry in measured
        if entry.control != CODEC
    }
    assert verdicts == {("noise", Verdict.MATCH), ("signal", Verdict.DRIFT)}
    for name, spread in noise_spread(found.evidence.values()).items():
        assert spread <= getattr(SAME_ENVIRONMENT, name)


def test_equal_sizes_are_comparable():
    assert judge_sizes(case((128, 128), (128, 128)), (128, 128)) is None


def test_the_two_floors_are_named_with_their_sizes():
    reason = judge_sizes(case((150, 215), (144, 208)), (128, 192))
    assert reason is not None
    assert "preview is 144×208 and the re-run 128×192" in reason
    assert "multiples of 8 and then 16 (144×208)" in reason
    assert "multiples of 32 (128×192)" in reason
    assert "neither" not in reason


def test_the_trainer_never_goes_under_64():
    reason = judge_sizes(case((79, 71), (64, 64)), (64, 32))
    assert reason is not None
    assert "16 (64×64)" in reason


def test_a_size_that_no_floor_explains_is_said():
    reason = judge_sizes(case((512, 512), (640, 512)), (512, 512))
    assert reason is not None
    assert "neither is the preview's" in reason
