"""README's way on what a user installs: a wheel, and none of the extras."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runs.results import load_run
from harness.schema.result import Verdict

ROOT = Path(__file__).parent.parent
PROJECT = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "harness")
EXTRAS = ("ray",)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds the wheel's harness and cannot import an extra."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PROJECT:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input"]
    _run([*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "-w", "dist"], folder)
    wheel = next((folder / "dist").glob("*.whl"))
    _run([*pip, "install", "--no-deps", "--target", "site", str(wheel)], folder)
    for name in EXTRAS:
        (folder / "site" / f"{name}.py").write_text("raise ImportError('this extra is not installed')\n")
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


@pytest.fixture(scope="module")
def folder(installed: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo ran."""
    folder = tmp_path_factory.mktemp("demo")
    done = _run([sys.executable, "-m", "harness", "demo"], folder, installed)
    assert (done.returncode, done.stderr) == (0, "")
    assert "9 cases: 8 match, 1 drift" in done.stdout
    assert "report: reports/demo/index.html" in done.stdout
    return folder


def _run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return done


def test_the_demo_shows_one_drift_among_matches(installed: dict[str, str], folder: Path) -> None:
    rows = load_run(folder / "reports/demo").rows
    assert len(rows) == 9
    for row in rows:
        wrong = row.case.endswith("wrong-guidance")
        assert row.verdict is (Verdict.DRIFT if wrong else Verdict.MATCH), row.case
    page = "".join(file.read_text() for file in sorted((folder / "reports/demo").rglob("*.html")))
    assert "wrong-guidance" in page
    assert "deliberately wrong: guidance_scale 3.0 instead of 4.0" in page
    again = _run([sys.executable, "-m", "harness", "demo"], folder, installed)
    assert (again.returncode, again.stderr) == (0, "")
    assert "9 of them done before" in again.stdout


def test_the_demos_wrong_case_is_explained_by_its_guidance(installed: dict[str, str], folder: Path) -> None:
    case = "cases/demo/wrong-guidance.case.yaml"
    command = [sys.executable, "-m", "harness", "diagnose", case, "--budget", "30"]  # identity costs the rest
    said = _run(command, folder, installed).stdout
    assert "guidance_scale = 4 explains the preview" in said
    assert "not tried: generator = cuda: it needs a GPU" in said
