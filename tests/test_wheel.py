"""README's way on what a user installs: a wheel, and none of the extras."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def test_the_demos_wrong_case_is_explained_by_its_guidance(installed: dict[str, str], tmp_path: Path) -> None:
    harness = [sys.executable, "-m", "harness"]
    _run([*harness, "demo"], tmp_path, installed)
    said = _run([*harness, "diagnose", "cases/demo/wrong-guidance.case.yaml"], tmp_path, installed)
    assert "guidance_scale = 4 explains the preview" in said
    assert "not tried: generator = cuda: it needs a GPU" in said
