from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.pytest_plugin.tiny_project import CASES, NO_REPORT


@pytest.fixture
def job(project: Path) -> Path:
    """One case eight times."""
    cases = project / CASES
    text = (cases / "drifted.case.yaml").read_text()
    for other in cases.glob("*.case.yaml"):
        other.unlink()
    for number in range(8):
        (cases / f"{number}.case.yaml").write_text(text.replace("tiny/drifted", f"tiny/{number}"))
    return project


def test_a_job_that_drifts_as_a_whole_fails_the_session_though_every_case_passes(
    job: Path, pytester: pytest.Pytester
) -> None:
    limits = "--harness-tolerance=ssim=-1,lpips=100,psnr=0"
    arguments = (CASES, NO_REPORT, limits)
    accepted = pytester.runpytest_inprocess(*arguments, "--harness-update-baselines")
    assert accepted.ret == 0
    for file in (job / "baselines/tiny").glob("*.json"):
        content = json.loads(file.read_text())
        for entry in content["entries"].values():
            entry["scores"]["ssim"] += 0.012
            entry["image_sha256"] = "0" * 64
        file.write_text(json.dumps(content))
    worse = pytester.runpytest_inprocess(*arguments)
    worse.assert_outcomes(passed=8)
    assert worse.ret == pytest.ExitCode.TESTS_FAILED
    worse.stdout.fnmatch_lines(["failed: drift of tiny as a whole: 8 of 8 re-runs are farther from*"])
    shutil.rmtree(job / "baselines/tiny")
