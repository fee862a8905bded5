from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli import main
from harness.importers.aitoolkit import import_job
from harness.schema.case import save_case


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Harness = Callable[..., Ended]


@pytest.fixture
def harness(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Harness:
    """Runs ``harness`` in this process, through the console script's own function, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def job(tmp_path: Path, jobs: dict[str, Path]) -> Path:
    """A copy of the simple job that a test may change."""
    return Path(shutil.copytree(jobs["simple"], tmp_path / "job"))


@pytest.fixture
def cases(tmp_path: Path, jobs: dict[str, Path]) -> Path:
    """Two cases of the shipped job, of two steps each: one with a LoRA."""
    folder = tmp_path / "cases"
    for case in import_job(jobs["inkprint"], out=folder, steps="0,200").cases:
        path = folder / f"{case.id.rpartition('/')[2]}.case.yaml"
        if case.preview.index != 2:
            path.unlink()
        else:
            few = case.settings.model_copy(update={"sample_steps": 2})
            save_case(case.model_copy(update={"settings": few}), path)
    return folder
