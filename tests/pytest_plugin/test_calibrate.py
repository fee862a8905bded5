from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.calibration.calibrate import calibrate
from harness.calibration.controls import controls
from harness.calibration.limits import noise_range, propose
from harness.errors import CalibrationError
from harness.judging.baseline import environment_key
from harness.judging.tolerance_file import Measured, ToleranceFile
from harness.metrics.images import save_png
from harness.pipeline.sigma_schedules import mu
from harness.runs.environment import environment
from harness.runs.plan import RunOptions
from harness.runs.rescore import rescore
from harness.runs.run import run_cases
from harness.runs.scorer import Scorer
from harness.schema.case import load_case
from harness.schema.render import RenderRequest
from harness.schema.result import Images
from harness.schema.spec import FLEX2
from tests.pytest_plugin.tiny_project import CASES, only_run, rows


def measured(
    kind: str, ssim: float, lpips: float = 0.01, psnr: float | None = 40.0, control: str | None = None
) -> Measured:
    return Measured(control=control or f"{kind} {ssim}", kind=kind, ssim=ssim, lpips=lpips, psnr=psnr)


def test_limits_lie_half_way() -> None:
    found = propose([measured("noise", 0.99, 0.01, 45.0), measured("signal", 0.95, 0.05, 35.0)])
    assert found.ssim_min == pytest.approx(0.97, abs=1e-4)
    assert found.lpips_max == pytest.approx(0.03, abs=1e-4)
    assert found.psnr_min == pytest.approx(40.0, abs=0.1)
    assert found.overlap == found.undetected == []
    assert found.margin == {"ssim": 0.04, "lpips": 0.04, "psnr": 10.0}


def test_identical_noise_leaves_finite_limits() -> None:
    found = propose([measured("noise", 1.0, 0.0, None), measured("signal", 0.5, 0.5, 20.0)])
    assert found.psnr_min == 34.0


def test_overlap_is_said_and_keeps_everything_valid() -> None:
    found = propose([measured("noise", 0.9, 0.05, 30.0), measured("signal", 0.95, 0.01, 40.0)])
    assert found.overlap == ["ssim", "lpips", "psnr"]
    assert found.undetected == ["signal 0.95"]
    assert found.ssim_min <= 0.9


@pytest.mark.parametrize("kind", ["noise", "signal"])
def test_one_side_alone_gives_no_limit(kind: str) -> None:
    with pytest.raises(CalibrationError, match="both are needed"):
        propose([measured(kind, 0.9)])


def test_noise_ranges_between_the_re_runs_of_one_case() -> None:
    """Nothing else counts: no copy, no other mode of the LoRA, and no dB that nobody sees."""
    case = [
        measured("noise", 0.992, 0.01, 43.0, "repeat"),
        measured("noise", 0.99, 0.013, 44.0, "batch of two"),
        measured("noise", 0.9, 0.1, 30.0, "live adapter"),
        measured("noise", 0.9, 0.1, 30.0, "codec round trip"),
        measured("signal", 0.5),
    ]
    other = [
        measured("noise", 0.999, 0.001, None, "repeat"),
        measured("noise", 0.998, 0.002, 46.5, "other attention kernel"),
    ]
    spread = noise_range([case, other])
    assert spread == pytest.approx({"ssim": 0.002, "lpips": 0.003, "psnr": 1.5})


def test_a_copy_loses_less_than_the_codec_floor(tmp_path: Path) -> None:
    """A second generation of the preview's own JPEG is an equally valid re-run; the floor is none."""
    noise = np.random.default_rng(0).normal(128, 40, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "preview.jpg", quality=75)
    save_png(tmp_path / "rerun.png", noise)
    scorer, images = Scorer(), Images(preview="preview.jpg", rerun="rerun.png")
    floor = scorer.score(tmp_path, images).codec_floor
    copy = scorer.score_copy(tmp_path, images)
    assert floor.psnr is not None
    assert copy.psnr is None or copy.psnr > floor.psnr + 3


@pytest.mark.parametrize("tokens", [16, 64, 1024, 4096])
def test_half_the_shift_is_half_at_every_size(
    tokens: int, quick_request: Callable[..., RenderRequest]
) -> None:
    (control,) = (each for each in controls(quick_request(), None) if each.name == "half the shift")
    assert math.exp(mu(tokens, FLEX2, shift=control.request.shift)) == pytest.approx(
        math.exp(mu(tokens, FLEX2)) / 2
    )


unit = st.floats(0, 1)
entries = st.builds(measured, st.sampled_from(["noise", "signal"]), unit, unit, st.none() | st.floats(5, 90))


@given(st.lists(entries, min_size=2).filter(lambda found: len({entry.kind for entry in found}) == 2))
def test_no_valid_execution_is_called_wrong(found: list[Measured]) -> None:
    limits = propose(found)
    assert limits.psnr_min is not None
    for entry in (entry for entry in found if entry.kind == "noise"):
        assert entry.ssim >= limits.ssim_min
        assert entry.lpips <= limits.lpips_max
        assert (math.inf if entry.psnr is None else entry.psnr) >= limits.psnr_min
    if not limits.overlap:
        assert limits.undetected == []


def test_a_real_calibration_separates_and_is_used(
    project: Path, master: Path, pytester: pytest.Pytester, tmp_path: Path
) -> None:
    case = load_case(project / CASES / "lora_0.case.yaml")
    out = tmp_path / "tolerance.json"
    made = calibrate([case], out=out, run=tmp_path / "run", options=RunOptions(device="cpu"), command="x")
    key = environment_key(environment("cpu"))
    assert ToleranceFile.load(out) == made
    controls = {entry.control: entry for entry in made.environments[key].evidence[case.id]}
    assert set(controls) == {
        "repeat", "other attention kernel", "batch of two", "live adapter", "merged in fp32",
        "codec round trip", "wrong seed", "other guidance", "half the shift", "LoRA off",
    }  # fmt: skip
    assert controls["repeat"].psnr is None
    assert made.environments[key].cases[case.id].separated
    again = calibrate([case], out=out, run=tmp_path / "run", options=RunOptions(device="cpu"), command="x")
    run_cases([case], out=tmp_path / "again", options=RunOptions(device="cpu"))
    assert again.environments[key].evidence == made.environments[key].evidence

    shutil.copy(out, project / "tolerance.json")
    pytester.runpytest_inprocess(
        f"{CASES}/lora_0.case.yaml", "--no-harness-report", "--harness-tolerance=tolerance.json"
    )
    tolerance = rows(only_run(project))[case.id].tolerance
    assert tolerance.source.startswith("CPU with ")
    assert f", torch {version('torch').partition('+')[0]}, 64×64, calibrated 20" in tolerance.source
    assert not tolerance.provisional
    assert tolerance.ssim_min == made.environments[key].cases[case.id].ssim_min
    (judged,) = rescore(tmp_path / "again", tolerance=made).rows
    assert judged.tolerance == tolerance


def test_a_damaged_tolerance_file_is_one_line(project: Path, pytester: pytest.Pytester) -> None:
    (project / "tolerance.json").write_text('{"environments": 3}')
    result = pytester.runpytest_inprocess(f"{CASES}/lora_0.case.yaml", "--harness-tolerance=tolerance.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("tolerance.json: environments" in line for line in result.errlines)
