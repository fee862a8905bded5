"""The public face: everything the command line does, as typed Python."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.cli.app import PANELS
from harness.schema.case import save_case


def test_every_name_is_there_and_documented() -> None:
    assert sorted(harness.__all__) == harness.__dir__()
    for name in harness.__all__:
        assert getattr(harness, name).__doc__, name


FUNCTIONS = {
    "demo": {"run_demo"},
    "doctor": {"examine"},
    "import": {"import_job", "import_request", "import_bundle"},
    "run": {"load_cases", "run_cases", "build_report"},
    "serve": set(),  # a process, not a function
    "schema": {"case_schema"},
    "audit": {"audit", "write_audit_page"},
    "diagnose": {"diagnose", "diagnose_cases", "static_findings"},
    "compare": {"compare", "write_comparison_page"},
    "export": {"export_case"},
    "fix": {"fix_case"},
    "sweep": {"sweep_cases", "parse_axis", "product", "preset", "read_grid"},
    "report": {"build_report", "build_history"},
    "rescore": {"rescore"},
    "summary": {"job_summary"},
    "bundle": {"write_bundle"},
    "watch": {"watch_round"},
    "accept": {"accept_run"},
    "apply-review": {"apply_review"},
    "calibrate": {"calibrate"},
    "history": {"read_history", "history_frame"},
}
"""What each command does, as functions."""


def test_every_command_is_a_function_too() -> None:
    assert set(FUNCTIONS) == {name for panel in PANELS.values() for name in panel}
    assert set.union(*FUNCTIONS.values()) <= set(harness.__all__)


def test_a_type_checker_and_a_user_see_the_same_names() -> None:
    """Both read the stub; a name without ``as`` would be hidden from a type checker."""
    stub = ast.parse(Path(harness.__file__).with_suffix(".pyi").read_text())
    exported = [
        alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(exported, key=str) == harness.__all__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="rnu_cases"):
        harness.rnu_cases  # noqa: B018


def test_from_a_job_folder_to_a_report(jobs: dict[str, Path], tmp_path: Path) -> None:
    imported = harness.import_job(jobs["inkprint"], out=tmp_path / "cases", steps="last")
    assert isinstance(imported, harness.ImportResult)
    assert isinstance(imported.frame(), pd.DataFrame)
    case = imported.cases[2]
    few = case.settings.model_copy(update={"sample_steps": 2})
    case = save_case(case.model_copy(update={"settings": few}), case.folder / "000000300_2.case.yaml")

    result = harness.run_cases([case], out=tmp_path / "run", options=harness.RunOptions(device="cpu"))
    assert isinstance(result, harness.RunResult)
    frame = result.frame()
    assert frame["case"].tolist() == [case.id]
    assert frame["verdict"].tolist() == ["drift"]
    assert harness.load_run(tmp_path / "run").rows == result.rows

    limits = harness.Tolerance(ssim_min=-1, lpips_max=9, source="test")
    (row,) = harness.rescore(tmp_path / "run", tolerance=limits).rows
    assert row.verdict is harness.Verdict.MATCH
    assert harness.build_report(tmp_path / "run") == tmp_path / "run" / "index.html"


def test_bad_input_is_one_exception_type(tmp_path: Path) -> None:
    with pytest.raises(harness.HarnessError) as caught:
        harness.import_job(tmp_path, out=tmp_path / "cases")
    assert caught.value.exit_code == 2
    with pytest.raises(harness.HarnessError):
        harness.load_cases([tmp_path])


def test_doctor_findings_are_typed() -> None:
    findings = harness.examine()
    assert {finding.level for finding in findings} <= {"ok", "note", "missing"}
    assert {"packages", "GPU", "base", "pipeline", "LPIPS", "noise era"} <= {
        found.topic for found in findings
    }
