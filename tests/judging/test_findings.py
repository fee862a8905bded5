"""Static findings: each shows on the case that has it, and on no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli.app import app
from harness.importers.aitoolkit import import_job
from harness.judging.findings import static_findings
from harness.schema.case import Case
from harness.schema.result import Finding


@pytest.fixture(scope="module")
def imported(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    folder = tmp_path_factory.mktemp("findings")
    return {name: import_job(job, out=folder / name).cases for name, job in jobs.items()}


def pick(cases: list[Case], step: int, index: int) -> Case:
    return next(case for case in cases if (case.preview.step, case.preview.index) == (step, index))


def by_id(case: Case) -> dict[str, Finding]:
    found = static_findings(case)
    assert [f.severity for f in found] == sorted(
        (f.severity for f in found), key=["error", "warning", "info"].index
    )
    return {finding.id: finding for finding in found}


def changed(case: Case, field: str, **values: Any) -> Case:
    part = getattr(case, field)
    return case.model_copy(update={field: part.model_copy(update=values)})


def test_a_plain_case_has_no_warning(imported: dict[str, list[Case]]) -> None:
    found = by_id(pick(imported["simple"], 20, 0))
    assert {finding.severity for finding in found.values()} == {"info"}
    assert "quality 75" in found["codec"].message


def test_quantized_jobs_say_so_until_the_case_does(imported: dict[str, list[Case]]) -> None:
    case = pick(imported["q8"], 20, 0)
    found = by_id(case)["quantized"]
    assert (found.severity, found.where) == ("warning", "trained.quantize")
    assert "transformer and T5 (qfloat8)" in found.message
    assert "quantized" not in by_id(case.model_copy(update={"quantize": "qfloat8"}))


def test_noise_era(imported: dict[str, list[Case]]) -> None:
    case = pick(imported["legacy"], 10, 0)
    assert by_id(case)["noise-era"].severity == "info"
    assert by_id(changed(case, "trained", software="ai-toolkit 0.7.21"))["noise-era"].severity == "warning"


def test_flags_trigger_and_idle_settings(imported: dict[str, list[Case]]) -> None:
    found = by_id(pick(imported["simple"], 20, 2))
    assert "--w 96 --h 160" in found["prompt-flags"].message
    assert "trigger" in found
    assert "idle-settings" in found
    assert "trigger" not in by_id(pick(imported["simple"], 20, 0))


def test_size_and_checkpoint(imported: dict[str, list[Case]]) -> None:
    case = pick(imported["simple"], 20, 0)
    assert by_id(changed(case, "settings", width=200))["size"].severity == "error"
    wrong = by_id(changed(case, "preview", step=30))["checkpoint"]
    assert "step 30" in wrong.message
    assert "step 20" in wrong.message


def test_a_lora_that_cannot_be_loaded(imported: dict[str, list[Case]], tmp_path: Path) -> None:
    case = pick(imported["simple"], 20, 0)
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickle....")
    bad = changed(case, "lora", file="bad.safetensors").at(tmp_path / "x.case.yaml")
    assert "is a pickle" in by_id(bad)["lora-keys"].message


def test_a_pruned_checkpoint_is_an_error(imported: dict[str, list[Case]]) -> None:
    assert by_id(pick(imported["q8"], 10, 0))["not-rerunnable"].severity == "error"


def test_the_static_command_loads_no_model(imported: dict[str, list[Case]], tmp_path: Path) -> None:
    case = pick(imported["q8"], 20, 0)
    target = tmp_path / "found.json"
    result = CliRunner().invoke(app, ["diagnose", str(case.file), "--static", "--json", str(target)])
    assert result.exit_code == 0
    assert "warning  quantized:" in result.stdout
    assert json.loads(target.read_text())["case"] == case.id
