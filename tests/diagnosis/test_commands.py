"""The commands' bad input: one line, exit code 2, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job

HARNESS = Path(sys.executable).with_name("harness")


@pytest.fixture(scope="module")
def cases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_job(jobs["inkprint"], out=tmp_path_factory.mktemp("commands") / "cases", steps="200").folder


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--axis", "sheduler=UniPC"], "unknown axis 'sheduler'; did you mean 'scheduler'?"),
        (["--axis", "noise=legcy"], "noise: unknown value 'legcy'; did you mean 'legacy'?"),
        (["--preset", "shedule"], "unknown preset 'shedule'; did you mean 'scheduler'?"),
        (
            ["--axis", "generator=cuda", "--device", "cpu"],
            "generator=cuda: generator: it needs a GPU",
        ),
        ([], "grid: the grid is empty; give --axis, --grid or --preset"),
        (["--grid", "absent.yaml"], "absent.yaml: cannot be read"),
    ],
)
def test_a_bad_sweep(cases: Path, tmp_path: Path, arguments: list[str], line: str) -> None:
    command = [HARNESS, "sweep", cases, "--out", tmp_path / "run", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
