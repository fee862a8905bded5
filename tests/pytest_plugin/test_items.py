from __future__ import annotations

import gc
import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from harness.pipeline.renderer import ReferenceRenderer
from tests.pytest_plugin.tiny_project import CASES, only_run, output


def test_ids_are_case_ids_and_weights_change_rarely(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(CASES, "--collect-only", "-q")
    ids = [line.partition("::")[2] for line in result.outlines if "::" in line]
    assert sorted(ids) == ["tiny/drifted", "tiny/lora_0", "tiny/lora_1", "tiny/plain"]
    assert abs(ids.index("tiny/lora_0") - ids.index("tiny/lora_1")) == 1


def test_other_tests_keep_their_place_and_the_garbage_collector_runs_again(
    project: Path, pytester: pytest.Pytester
) -> None:
    for name in ("a", "z"):
        (project / CASES / f"test_{name}.py").write_text("def test(): pass\n")
    result = pytester.runpytest_inprocess("--collect-only", "-q", CASES)
    ids = [line.partition("::")[2] for line in result.outlines if "::" in line]
    assert [name.partition("/")[0] for name in ids] == ["tiny", "tiny", "tiny", "tiny", "test", "test"]
    assert gc.isenabled()


def test_without_a_gpu_the_header_counts_what_is_deselected(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(CASES, "--collect-only")
    result.stdout.fnmatch_lines(["harness: 4 cases on the CPU, 1 deselected: * need --gpu"])
    assert "tiny/on_hub" not in output(result)


def test_with_gpu_nothing_is_deselected(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(CASES, "--collect-only", "--gpu")
    assert "tiny/on_hub" in output(result)
    result.stdout.fnmatch_lines(["harness: 5 cases on the GPU"])


def test_only_cases_that_need_a_gpu_is_not_a_success(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(f"{CASES}/on_hub.case.yaml")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_k_selects_by_case_id(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(CASES, "--collect-only", "-q", "-k", "lora_1")
    assert [line for line in result.outlines if "::" in line] == [f"{CASES}/lora_1.case.yaml::tiny/lora_1"]
    result.stdout.fnmatch_lines(["harness: 1 case on the CPU, 1 deselected*"])


def test_a_broken_case_file_is_one_line(project: Path, pytester: pytest.Pytester) -> None:
    (project / CASES / "broken.case.yaml").write_text("id: tiny/broken\nsetings: {}\n")
    result = pytester.runpytest_inprocess(CASES)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in output(result)
    result.stdout.fnmatch_lines(["*broken.case.yaml: *"])


def test_two_cases_of_one_id_are_refused(project: Path, pytester: pytest.Pytester) -> None:
    (project / CASES / "twin.case.yaml").write_bytes((project / CASES / "plain.case.yaml").read_bytes())
    result = pytester.runpytest_inprocess(CASES)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "both hold the case 'tiny/plain'" in output(result)


def test_a_changed_lora_is_an_error_with_a_row_a_page_and_properties(
    project: Path, pytester: pytest.Pytester
) -> None:
    lora = next((project / CASES).glob("*.safetensors"))
    lora.write_bytes(lora.read_bytes()[:-1] + b"\x01")
    result = pytester.runpytest_inprocess(
        f"{CASES}/lora_0.case.yaml", "--harness-sweep=shift", "--junitxml=junit.xml"
    )
    result.assert_outcomes(failed=1)
    assert "Traceback" not in output(result)
    assert "baseline  " not in output(result)
    result.stdout.fnmatch_lines(
        ["error: *lora.sha256*hashes to*", "  case *", "  report *tiny--lora_0.html", "verdicts: 1 error"]
    )
    assert (only_run(project) / "cases/tiny--lora_0.html").is_file()
    assert '<property name="verdict" value="error"' in (project / "junit.xml").read_text()


def test_a_missing_preview_is_one_clear_line(project: Path, pytester: pytest.Pytester) -> None:
    (project / CASES / "plain.png").unlink()
    result = pytester.runpytest_inprocess(f"{CASES}/plain.case.yaml", "--no-harness-report")
    result.assert_outcomes(failed=1)
    assert "Traceback" not in output(result)
    result.stdout.fnmatch_lines(["tiny/plain: *plain.png*", "verdicts: 1 error"])


def test_collection_imports_no_torch_and_ordinary_tests_import_no_harness(project: Path) -> None:
    script = """
import sys, pytest
pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", sys.argv[1]])
print("loaded:", [name for name in ("torch", "diffusers", "pandas", "pydantic") if name in sys.modules])
"""
    (project / "test_plain.py").write_text("def test_nothing(): pass\n")

    def loaded(what: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", script, what], cwd=project, capture_output=True, text=True, check=True
        )
        return run.stdout.splitlines()[-1]

    assert loaded(CASES) == "loaded: ['pydantic']"
    assert loaded("test_plain.py") == "loaded: []"


def test_a_librarys_warning_is_no_verdict(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ReferenceRenderer.render

    def render(renderer: ReferenceRenderer, *arguments: Any, **options: Any) -> Any:
        warnings.warn("soon to be gone", FutureWarning, stacklevel=1)
        return real(renderer, *arguments, **options)

    monkeypatch.setattr(ReferenceRenderer, "render", render)
    pytester.makeini("[pytest]\nfilterwarnings =\n  error\n  ignore::pytest.PytestAssertRewriteWarning")
    result = pytester.runpytest_inprocess(f"{CASES}/plain.case.yaml", "--harness-update-baselines")
    result.assert_outcomes(passed=1, warnings=1)


def test_a_session_that_rendered_ends_without_looking_for_garbage(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    module = importlib.import_module("harness.runs.environment")
    real = module.environment

    def environment(device: str) -> dict[str, Any]:
        looks.append(gc.isenabled())
        return real(device)

    monkeypatch.setattr(module, "environment", environment)
    monkeypatch.setattr(gc, "collect", lambda *_: looks.append(True))
    gc.unfreeze()
    pytester.runpytest_inprocess(f"{CASES}/plain.case.yaml", "--collect-only", "-q")
    assert gc.get_freeze_count() == 0
    pytester.runpytest_inprocess(f"{CASES}/plain.case.yaml", "--no-harness-report")
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
    assert looks == [False], "none while libraries are imported either"
    assert gc.isenabled()


@pytest.mark.parametrize("colour", ["yes", "no"])
def test_progress_names_case_step_and_time_left_and_is_not_captured(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    """Drawn in place on a terminal; a line now and then elsewhere. The item fails and shows what it took."""
    monkeypatch.setattr(importlib.import_module("harness.pytest_plugin.step_progress"), "QUIET_SECONDS", 0.0)
    result = pytester.runpytest_inprocess(
        f"{CASES}/plain.case.yaml", "--no-harness-report", f"--color={colour}"
    )
    text = output(result)
    if colour == "yes":
        assert re.search(r"tiny/plain .*1/2 steps · 0:00:\d\d · left", re.sub(r"\033\[[\d;]*m", "", text))
    else:
        assert text.count("tiny/plain  step 1/2  about ") == 1
        assert "\033[" not in text
    assert "Captured stdout" not in text


def test_progress_counts_a_sweeps_variants_and_names_them(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = importlib.import_module("harness.pytest_plugin.step_progress")
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    result = pytester.runpytest_inprocess(
        f"{CASES}/plain.case.yaml", "--no-harness-report", "--harness-sweep=shift"
    )
    told = [line.split("  ") for line in result.outlines if "  step " in line]
    assert told[0][:2] == ["tiny/plain", "step 1/2"]
    assert told[-1][2] == "about 0 s left", "no step is left, so the variants were counted"
    assert {name for name, *_ in told} >= {"tiny/plain", "tiny/plain max_shift=1.5"}
