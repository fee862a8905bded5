"""A Ray cluster of two worker processes, one of them killed; and what is said without Ray."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.runs.execute import run_cases
from harness.runs.plan import RunOptions

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "ray_cluster.py"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray, the extra 'ray', is not installed")
def test_a_killed_worker_loses_and_doubles_no_row() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--cases", "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = {line[:28].strip(): line[28:].split() for line in done.stdout.splitlines()}
    assert table["rows"] == ["5", "5"]
    assert table["workers killed"] == ["0", "1"]
    assert table["rows as those of one process"] == ["5"]


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HarnessError) as caught:
        run_cases([], out=tmp_path / "run", options=RunOptions(device="cpu", ray="local"))
    assert str(caught.value) == '--ray: needs Ray, which is not installed; pip install "flex2-harness[ray]"'
    assert not (tmp_path / "run").exists()
