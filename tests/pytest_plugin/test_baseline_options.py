from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.schema.result import Verdict
from tests.pytest_plugin.tiny_project import CASES, DRIFTED, NO_REPORT, PLAIN, only_run, output, rows


def test_a_missing_baseline_fails_although_the_preview_matches(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = pytester.runpytest_inprocess(PLAIN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "incomparable: no baseline was accepted for this case; against its preview: match, bit-identical*",
        "  case      tiny/plain",
        "  scores    SSIM 1.0000, LPIPS 0.0000, PSNR ∞ dB",
        "  limits    SSIM ≥ 0.967, LPIPS ≤ 0.01, PSNR ≥ 30.7 dB (harness default)",
        "  baseline  none that applies in baselines/tiny/plain.json: *",
        "  report    reports/pytest-*/cases/tiny--plain.html",
    ])  # fmt: skip
    page = next(line.split()[-1] for line in result.outlines if line.startswith("  report "))
    assert (project / page).is_file()
    result.stdout.fnmatch_lines(["FAILED *::tiny/plain - Failed: incomparable: no baseline*"])


def test_update_baselines_accepts_and_the_next_run_is_bit_equal(
    accepted: Path, pytester: pytest.Pytester
) -> None:
    content = json.loads((accepted / "baselines/tiny/plain.json").read_text())
    (entry,) = content["entries"].values()
    assert entry["reason"] == "pytest --harness-update-baselines"
    assert entry["accepted_by"]
    assert entry["verdict"] == "match"
    result = pytester.runpytest_inprocess(PLAIN, DRIFTED, NO_REPORT, "-rx")
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines(["*tiny/drifted - drift, accepted by *bit-equal to its baseline*"])
    result.stdout.fnmatch_lines(["verdicts: 1 match, 1 drift", "bit-equal to their baselines: 2 of 2"])
    found = rows(only_run(accepted))
    assert found["tiny/plain"].baseline is not None
    assert found["tiny/plain"].baseline.identical
    assert found["tiny/plain"].reason.startswith("bit-equal to its baseline")
    assert found["tiny/drifted"].verdict is Verdict.DRIFT


def test_update_baselines_new_only_keeps_what_was_accepted(accepted: Path, pytester: pytest.Pytester) -> None:
    (accepted / "baselines/tiny/drifted.json").unlink()
    before = (accepted / "baselines/tiny/plain.json").read_bytes()
    result = pytester.runpytest_inprocess(
        PLAIN,
        DRIFTED,
        NO_REPORT,
        "--harness-update-baselines-new-only",
        "--harness-reason",
        "known: other guidance",
    )
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.fnmatch_lines(["baselines written: baselines/tiny/drifted.json"])
    assert (accepted / "baselines/tiny/plain.json").read_bytes() == before
    assert "known: other guidance" in (accepted / "baselines/tiny/drifted.json").read_text()


def test_a_baseline_of_another_machine_is_told_from_this_ones(
    accepted: Path, pytester: pytest.Pytester
) -> None:
    file = accepted / "baselines/tiny/plain.json"
    content = json.loads(file.read_text())
    (here,) = content["entries"]
    content["entries"] = {"cuda-nvidia-h100": content["entries"][here] | {"image_sha256": "0" * 64}}
    file.write_text(json.dumps(content))
    result = pytester.runpytest_inprocess(PLAIN, NO_REPORT)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["bit-equal to their baselines: 0 of 1", "held against another machine's baseline: tiny/plain"]
    )
    pytester.runpytest_inprocess(PLAIN, NO_REPORT, "--harness-update-baselines-new-only")
    assert list(json.loads(file.read_text())["entries"]) == sorted([here, "cuda-nvidia-h100"])
    own = pytester.runpytest_inprocess(PLAIN, NO_REPORT)
    assert "another machine" not in output(own)


def test_unused_baselines_warn_or_fail(accepted: Path, pytester: pytest.Pytester) -> None:
    orphan = accepted / "baselines/tiny/gone.json"
    orphan.write_text((accepted / "baselines/tiny/plain.json").read_text().replace("tiny/plain", "tiny/gone"))
    for arguments, code, said in (
        ((), 0, "baselines without a case: tiny/gone"),
        (
            ("--harness-unused-baselines=fail",),
            1,
            "failed: baselines without a case: tiny/gone; delete their files, or bring the cases back",
        ),
    ):
        result = pytester.runpytest_inprocess(CASES, "-k", "plain", NO_REPORT, *arguments)
        result.stdout.fnmatch_lines([said])
        assert result.ret == code


def test_one_file_says_nothing_about_other_baselines(accepted: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(PLAIN, NO_REPORT)
    assert "without a case" not in output(result)


def test_baselines_folder(accepted: Path, pytester: pytest.Pytester) -> None:
    (accepted / "baselines").rename(accepted / "kept")
    pytester.runpytest_inprocess(PLAIN, NO_REPORT).assert_outcomes(failed=1)
    pytester.runpytest_inprocess(PLAIN, NO_REPORT, "--harness-baselines", "kept").assert_outcomes(passed=1)
