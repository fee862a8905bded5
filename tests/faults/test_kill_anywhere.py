"""A few of the attempts of ``python -m tests.faults``, which makes fifty of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = (
    "kill run",
    "kill run --score-workers 2",
    "kill pytest",
    "kill harness accept",
    "kill report",
    "kill import",
    "full disk report",
)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_what_is_stopped_anywhere_goes_on_and_ends_the_same() -> None:
    only = [f"--only={kind}" for kind in KINDS]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--attempts=2", *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.rsplit(maxsplit=7) for line in done.stdout.splitlines()[1:]]
    assert [row[0].startswith(kind) for row, kind in zip(table, KINDS, strict=True)] == [True] * len(KINDS)
    assert {tuple(row[1:]) for row in table} == {("2", "0", "0", "0", "2", "0", "0")}
