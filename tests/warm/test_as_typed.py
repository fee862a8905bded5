"""A command runs in the folder where it was typed, wherever the warm process was started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.warm.as_typed import run_as_typed


def test_the_warm_process_own_folder_may_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()
    found: list[Path] = []
    request = {"folder": str(tmp_path), "environment": dict(os.environ), "umask": 0o22}
    files = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
    assert run_as_typed(lambda: found.append(Path.cwd()), request, files) == 0
    assert found == [tmp_path]
    for file in files:
        os.close(file)
