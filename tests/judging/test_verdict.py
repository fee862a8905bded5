from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from harness.calibration.limits import noise_range, propose
from harness.judging.tolerance_file import Environment, Measured, ToleranceFile
from harness.judging.verdict import DEFAULT_TOLERANCE, OTHER_ENVIRONMENT, SAME_ENVIRONMENT, judge, judge_sizes
from harness.metrics.scores import PixelStats, Scores, Tile, counted_psnr
from harness.runs.t5_kernel import REPEAT
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.case_parts import Preview, SampleSettings
from harness.schema.metric_limits import Tolerance
from harness.schema.result import Verdict

CALIBRATION = Path(__file__).parents[2] / "harness" / "data" / "calibration"
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


def calibrated(name: str) -> Environment:
    (found,) = ToleranceFile.load(CALIBRATION / name).environments.values()
    return found


@pytest.fixture(scope="module")
def shipped() -> list[Measured]:
    """Every control of the two calibrations: on the CPU that made the previews, and on an H100."""
    files = [calibrated(f"emoji_inkprint-{machine}.json") for machine in ("cpu", "h100")]
    return [entry for found in files for case in found.evidence.values() for entry in case]


def elsewhere(dtype: str) -> list[list[Measured]]:
    """The re-runs of every case on four kinds of machine."""
    runs = json.loads((CALIBRATION / "environments.json").read_text()).values()
    found = [run["scores"] for run in runs if run["dtype"] == dtype]
    assert len(found) == 4
    return [
        [Measured(control=REPEAT, kind="noise", **run[case]) for run in found] for case in sorted(found[0])
    ]


def verdict(entry: Measured) -> Verdict:
    return judge(scores(ssim=entry.ssim, lpips=entry.lpips, psnr=entry.psnr), DEFAULT_TOLERANCE)[0]


def test_the_shipped_calibration_proposes_what_it_says():
    """The worst noise, for there is milder signal; the margin is twice what a kernel or a batch changes."""
    found = calibrated("emoji_inkprint-cpu.json")
    assert propose([entry for case in found.evidence.values() for entry in case]) == found.all_cases
    assert found.all_cases.overlap == ["ssim", "lpips", "psnr"]
    assert found.all_cases.undetected == ["half the shift", "other guidance"]
    assert sum(not proposal.overlap for proposal in found.cases.values()) == 15
    for name, spread in noise_range(found.evidence.values()).items():
        assert 2 * spread <= getattr(SAME_ENVIRONMENT, name) <= 3 * spread


def test_the_defaults_call_no_valid_re_run_wrong_on_any_machine_and_little_more(shipped: list[Measured]):
    valid = [entry for entry in shipped if entry.kind == "noise"]
    valid += [entry for case in elsewhere("bf16") for entry in case]
    assert {verdict(entry) for entry in valid} == {Verdict.MATCH}
    limits = DEFAULT_TOLERANCE
    assert min(entry.ssim for entry in valid) - limits.ssim_min < 0.001
    assert limits.lpips_max - max(entry.lpips for entry in valid) < 0.0005
    assert min(counted_psnr(entry.psnr) for entry in valid) - float(limits.psnr_min or 0) < 0.2


def test_the_defaults_see_every_wrong_seed_lora_and_checkpoint(shipped: list[Measured]):
    """What passes are settings that hardly change some of the pictures."""
    missed = Counter(
        entry.control for entry in shipped if entry.kind == "signal" and verdict(entry) is Verdict.MATCH
    )
    assert {entry.control for entry in shipped if entry.kind == "signal"} - set(missed) == {
        "wrong seed", "LoRA off", "other checkpoint",
    }  # fmt: skip
    assert missed == {"half the shift": 12, "other guidance": 2}


def test_the_margin_between_machines_is_twice_what_they_change_and_little_more():
    for name, spread in noise_range(elsewhere("bf16")).items():
        assert 2 * spread <= getattr(OTHER_ENVIRONMENT, name) <= 2.1 * spread
    for name, spread in noise_range(elsewhere("fp32")).items():
        assert spread < getattr(OTHER_ENVIRONMENT, name) / 20


def test_an_h100_stays_within_the_margin_of_one_machine():
    for name, spread in noise_range(calibrated("emoji_inkprint-h100.json").evidence.values()).items():
        assert 0 < spread <= getattr(SAME_ENVIRONMENT, name)


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
