"""One test or more for every option: pytest inside pytest, on the embedded checkpoint."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from harness.pytest_plugin.items import CaseItem
from harness.runs.results import load_run
from harness.schema.result import Verdict
from harness.sweeps.grid import preset
from tests.pytest_plugin.tiny_project import CASES, DRIFTED, INI, NO_REPORT, PLAIN, only_run, output, rows


def test_gpu_without_a_usable_one_fails_before_anything_runs(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = pytester.runpytest_inprocess(CASES, "--gpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --gpu: cuda was asked for, and torch * sees no GPU; see harness doctor*"]
    )
    assert not (project / "reports").exists()


def test_other_processes_score_and_the_rows_are_the_same(
    accepted: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.runs.scoring_pool import ScoringPool

    submitted: list[str] = []
    real = ScoringPool.submit

    def submit(self: ScoringPool, job: Any) -> Any:
        if self.depth:
            submitted.append(job.images.rerun)
        return real(self, job)

    monkeypatch.setattr(ScoringPool, "submit", submit)
    for workers in ("0", "2"):
        result = pytester.runpytest_inprocess(
            CASES, NO_REPORT, f"--harness-score-workers={workers}", f"--harness-results=run{workers}"
        )
        result.stdout.fnmatch_lines(["verdicts: *1 match*"])
    assert len(submitted) == len(set(submitted)) == 4
    between, beside = rows(accepted / "run0"), rows(accepted / "run2")
    assert {case: row.model_dump(exclude={"seconds"}) for case, row in beside.items()} == {
        case: row.model_dump(exclude={"seconds"}) for case, row in between.items()
    }


def test_a_number_of_scoring_processes_that_is_none(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(PLAIN, "--harness-score-workers=-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--harness-score-workers: found '-1', give 0 or more"])


def test_the_engine_that_is_asked_for_is_used(project: Path, pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess(PLAIN, NO_REPORT, "--harness-engine=eager", "--harness-results=run")
    (row,) = rows(project / "run").values()
    assert row.rendered is not None
    assert row.rendered.engine_reason == "asked for"


def test_results_and_report(accepted: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(PLAIN, "--harness-results", "night/one", "--harness-report")
    assert result.ret == 0
    assert (accepted / "night/one/index.html").is_file()
    assert list(rows(accepted / "night/one")) == ["tiny/plain"]
    again = pytester.runpytest_inprocess(PLAIN, "--harness-results", "night/one")
    assert again.ret == pytest.ExitCode.USAGE_ERROR
    again.stderr.fnmatch_lines(["ERROR: --harness-results: *night/one holds a run already; name another"])
    pytester.runpytest_inprocess(PLAIN, "--harness-results", "night/two", NO_REPORT)
    assert not (accepted / "night/two/index.html").exists()
    assert (accepted / "night/two/results.jsonl").is_file()


def test_junit_carries_scores_and_thresholds(accepted: Path, pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess(PLAIN, NO_REPORT, "--junitxml=junit.xml")
    case = next(ET.parse(accepted / "junit.xml").getroot().iter("testcase"))
    found = {prop.get("name"): prop.get("value") for prop in case.iter("property")}
    assert case.get("name") == "tiny/plain"
    assert found["verdict"] == "match"
    assert float(str(found["ssim"])) == 1.0
    assert found["tolerance_source"] == "harness default"
    assert len(found["image_sha256"] or "") == len(found["latents_sha256"] or "") == 64


def test_tolerance_precedence(accepted: Path, pytester: pytest.Pytester) -> None:
    """The drifted case matches under each source's wide limits, and the row names the one that applied."""

    def verdict(*arguments: str) -> tuple[Verdict, str]:
        pytester.runpytest_inprocess(DRIFTED, NO_REPORT, *arguments)
        row = rows(only_run(accepted))["tiny/drifted"]
        return row.verdict, row.tolerance.source

    assert verdict() == (Verdict.DRIFT, "harness default")
    (accepted / "pyproject.toml").write_text(INI + "harness_tolerance = 'ssim=-1,lpips=9,psnr=0'\n")
    assert verdict() == (Verdict.MATCH, "harness_tolerance")
    with (accepted / DRIFTED).open("a") as stream:
        stream.write("tolerance: {ssim_min: 0.999, lpips_max: 0.001, source: by hand}\n")
    assert verdict() == (Verdict.DRIFT, "case file: by hand")
    assert verdict("--harness-tolerance=ssim=-1,lpips=9,psnr=0") == (Verdict.MATCH, "--harness-tolerance")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[tool.harness]", "pyproject.toml: tool.harness: is not read any more; write its keys as harness_"),
        (
            "[tool.pytest.ini_options]\nharness_pipeline = 'ours'",
            "harness_pipeline: found 'ours'; give hub or",
        ),
        (INI + "harness_results = [", "pyproject.toml: Invalid value"),
        (
            INI + "harness_tolerance = 'ssim=2'",
            "harness_tolerance: ssim_min: Input should",
        ),
        (
            INI + "harness_tolerance = 'sim=1'",
            "harness_tolerance: 'sim=1' is not a limit",
        ),
        (INI + "harness_trust_remote_code = 'perhaps'", "invalid truth value 'perhaps'"),
    ],
)
def test_a_wrong_pyproject_is_one_line(
    project: Path, pytester: pytest.Pytester, table: str, message: str
) -> None:
    (project / "pyproject.toml").write_text(f"{table}\n")
    result = pytester.runpytest_inprocess(PLAIN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in output(result)
    assert "Traceback" not in output(result)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("sim=0.9", "--harness-tolerance: 'sim=0.9' is not a limit; write ssim="),
        ("ssim=2", "--harness-tolerance: ssim_min: Input should be less than or equal to 1, found 2.0"),
        ("psnr=nan", "--harness-tolerance: psnr_min: Input should be a finite number, found nan"),
        ("none.json", "none.json: cannot be read (No such file or directory); make one with"),
    ],
)
def test_a_wrong_tolerance_is_one_line(
    project: Path, pytester: pytest.Pytester, limits: str, message: str
) -> None:
    result = pytester.runpytest_inprocess(PLAIN, f"--harness-tolerance={limits}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in output(result)
    assert "Traceback" not in output(result)


def test_base_pipeline_and_dtype_override_the_case(
    accepted: Path, pytester: pytest.Pytester, tiny: Path
) -> None:
    pytester.runpytest_inprocess(
        PLAIN, NO_REPORT, f"--harness-base={tiny}", "--harness-pipeline=builtin", "--harness-dtype=bf16"
    )
    row = rows(only_run(accepted))["tiny/plain"]
    assert row.rendered is not None
    assert row.rendered.dtype == "bf16"
    assert row.rendered.base != "embedded:tiny-flex2-emoji"


def test_pipeline_precedence(project: Path, pytester: pytest.Pytester) -> None:
    def pipeline(*arguments: str) -> str:
        (item,), _ = pytester.inline_genitems(PLAIN, *arguments)
        assert isinstance(item, CaseItem)
        assert item.planned is not None
        assert item.planned.request is not None
        return item.planned.request.pipeline

    assert pipeline() == "builtin"
    (project / "pyproject.toml").write_text(INI + "harness_pipeline = 'hub'\n")
    assert pipeline() == "hub"
    with (project / PLAIN).open("a") as stream:
        stream.write("pipeline: builtin\n")
    assert pipeline() == "builtin"
    assert pipeline("--harness-pipeline=hub") == "hub"


def test_hub_code_needs_trust(accepted: Path, pytester: pytest.Pytester, tiny: Path) -> None:
    base = accepted / "hub"
    base.mkdir()
    for entry in tiny.iterdir():
        (base / entry.name).symlink_to(entry)
    (base / "pipeline.py").write_bytes((Path(__file__).parents[1] / "data/hub/pipeline.py").read_bytes())
    hub = [PLAIN, NO_REPORT, f"--harness-base={base}", "--harness-pipeline=hub"]
    refused = pytester.runpytest_inprocess(*hub)
    assert "does not run without your trust" in output(refused)
    assert refused.ret == pytest.ExitCode.TESTS_FAILED
    pytester.runpytest_inprocess(*hub, "--harness-trust-remote-code").assert_outcomes(passed=1)


def test_sweep_adds_rows_and_decides_nothing(accepted: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(PLAIN, NO_REPORT, "--harness-sweep=shift")
    result.assert_outcomes(passed=1)
    variants = {row.variant for row in load_run(only_run(accepted)).rows}
    assert len(variants) == len(preset("shift")) + 1
    result.stdout.fnmatch_lines(
        ["verdicts: 1 match", f"sweep: {len(preset('shift'))} variants, in the report"]
    )
    wrong = pytester.runpytest_inprocess(PLAIN, NO_REPORT, "--harness-sweep=shfit")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    assert "did you mean 'shift'?" in output(wrong)


@pytest.mark.parametrize("option", ["reason", "results", "baselines"])
def test_what_is_no_utf_8_fails_before_anything_runs(
    project: Path, pytester: pytest.Pytester, option: str
) -> None:
    result = pytester.runpytest_inprocess(CASES, f"--harness-{option}=na\udcefve")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --harness-{option}: 'na?udcefve' is no UTF-8; write it in UTF-8"])
    assert not (project / "reports").exists()
