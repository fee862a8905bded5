"""The scripts of the nightly workflow, run as its shell runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.history.run_folders import write_runs
from tests.judging.rows import row, scores

WORKFLOW = Path(__file__).parents[2] / ".github/workflows/nightly.yml"


def run_step(job: str, step: str, folder: Path, **environment: str) -> tuple[int, dict[str, str]]:
    """Run a step of the workflow in ``folder``; return its exit code and its outputs."""
    jobs: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    (script,) = (found["run"] for found in jobs[job]["steps"] if found.get("id") == step)
    output = folder / "output"
    output.touch()
    run = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=os.environ | environment | {"GITHUB_OUTPUT": str(output)},
        check=False,
        capture_output=True,
    )
    pairs = (line.partition("=") for line in output.read_text().splitlines())
    return run.returncode, {name: value for name, _, value in pairs}


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, as GitHub's runners have")
def test_a_shard_for_every_outer_folder_and_none_is_a_failure(tmp_path: Path) -> None:
    for file in ("cases/a/0.case.yaml", "cases/a/in/1.case.yaml", "cases/a b/2.case.yaml", "cases/README.md"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert run_step("shards", "list", tmp_path, CASES="cases") == (0, {"folders": '["cases/a b","cases/a"]'})
    (tmp_path / "output").unlink()
    assert run_step("shards", "list", tmp_path, CASES="nowhere") == (1, {})


def test_a_shard_runs_pytest_on_its_folder_and_names_its_results(tmp_path: Path) -> None:
    pytest_there = tmp_path / ".venv/bin/pytest"
    pytest_there.parent.mkdir(parents=True)
    pytest_there.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\nexit 1\n')
    pytest_there.chmod(0o755)
    code, outputs = run_step("run", "test", tmp_path, FOLDER="cases/my lora_1", HARNESS_TRUST="", RUNS="kept")
    assert code == 1
    assert outputs["name"].startswith("nightly-20")
    assert outputs["name"].endswith("-cases-my-lora_1")
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "cases/my lora_1", "--gpu", "--timeout=0",
        f"--harness-results=kept/{outputs['name']}", f"--junitxml=kept/{outputs['name']}.xml",
    ]  # fmt: skip


def test_the_summary_holds_the_run_and_the_history(tmp_path: Path) -> None:
    write_runs(tmp_path / "kept", [row(scores(0.995))] * 5 + [row(scores(0.96))] * 4)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    summary = tmp_path / "summary"
    told = {"RUNS": "kept", "LINK": "https://example.org/a", "GITHUB_STEP_SUMMARY": str(summary)}
    assert run_step("run", "summarise", tmp_path, NAME="night-08", **told)[0] == 0
    assert run_step("run", "history", tmp_path, RUNS="kept")[0] == 0
    assert "job/0" in (tmp_path / "kept/history.html").read_text()
    text = summary.read_text()
    assert text.startswith("## night-08: 1 drift\n\n[Report, images and rows](https://example.org/a)\n")
    assert "\n~~~\njob/0 on cpu-linux-x86-64-avx512, 9 runs\n  SSIM stepped from 0.9950" in text
    assert run_step("run", "summarise", tmp_path, NAME="night-09", **told)[0] == 0
    assert summary.read_text().endswith("No case was rendered: see the log.\n")


def test_a_damaged_older_run_is_no_reason_to_fail(tmp_path: Path) -> None:
    write_runs(tmp_path / "kept", [row(), row()])
    (tmp_path / "kept/night-00/results.jsonl").write_text("{}\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    summary = tmp_path / "summary"
    told = {"RUNS": "kept", "LINK": "", "GITHUB_STEP_SUMMARY": str(summary)}
    assert run_step("run", "summarise", tmp_path, NAME="night-01", **told)[0] == 0
    assert run_step("run", "history", tmp_path, RUNS="kept")[0] == 0
    assert "1 series, 0 with a finding\n" in summary.read_text()
    assert summary.read_text().endswith("\nThe history, or a run of it, cannot be read: see the log.\n~~~\n")
