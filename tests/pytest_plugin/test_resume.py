"""A killed session goes on only with the bases that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.data import CHECKPOINTS
from harness.schema.base import Base
from harness.schema.case import load_case, save_case
from tests.pytest_plugin.tiny_project import CASES, output

COMMAND = (CASES, "--gpu", "--no-harness-report", "--harness-results=run")


def test_a_base_that_changed_since_is_another_run(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = project / "base"
    shutil.copytree(CHECKPOINTS / "tiny-flex2-emoji", base)
    for file in (project / CASES).glob("*.case.yaml"):
        case = load_case(file)
        file.unlink()
        if "hub" not in case.id:
            save_case(case.model_copy(update={"base": Base(path=str(base))}), file)
    monkeypatch.setattr("harness.schema.device.choose_device", lambda _: "cpu")
    pytester.runpytest_inprocess(*COMMAND, "-x")
    (project / "run/.run.json.unfinished").touch()
    config = base / "transformer/config.json"
    config.write_text(config.read_text() + "\n")
    result = pytester.runpytest_inprocess(*COMMAND)
    assert "holds another run: bases." in output(result)
