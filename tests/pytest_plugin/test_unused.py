"""Unused baselines: a case that was not collected is not a case that is gone. Nothing renders here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.pytest_plugin.tiny_project import CASES, NAMES, output

LISTED = ("--collect-only", "-q")
GONE = "baselines without a case: tiny/gone"


@pytest.fixture
def folders(project: Path) -> Path:
    """The project with ``lora_1`` in a folder of its own, and baselines for all cases and for ``gone``."""
    (project / CASES / "sub").mkdir()
    shutil.move(project / CASES / "lora_1.case.yaml", project / CASES / "sub")
    (project / "baselines/tiny").mkdir(parents=True)
    for name in (*NAMES, "gone"):
        (project / f"baselines/tiny/{name}.json").write_text("{}\n")
    failed = project / ".pytest_cache/v/cache/lastfailed"
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps({f"{CASES}/plain.case.yaml::tiny/plain": True}))
    return project


@pytest.mark.parametrize(
    "arguments",
    [
        (CASES,),
        (CASES, f"--ignore={CASES}/sub"),
        (CASES, "--ignore-glob=*lora*"),
        (CASES, f"--deselect={CASES}/sub"),
        (CASES, "-k", "plain"),
        (CASES, "--lf"),
        (f"{CASES}/sub",),
        (f"{CASES}/sub/../sub", f"{CASES}/sub"),
        (f"{CASES}/../{CASES}",),
        (f"--ignore={CASES}/sub",),
    ],
)
def test_only_cases_that_are_gone_are_missed(
    folders: Path, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    result = pytester.runpytest_inprocess(*LISTED, *arguments)
    assert [line for line in result.outlines if "without a case" in line] == [GONE]


def test_another_rootdir_changes_nothing(
    folders: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "else").mkdir()
    monkeypatch.chdir(folders / "else")
    result = pytester.runpytest_inprocess(*LISTED, "--rootdir=..", f"../{CASES}/sub")
    assert [line for line in result.outlines if "without a case" in line] == [GONE]


@pytest.mark.parametrize("arguments", [(), (f"--ignore={CASES}/sub",)])
def test_a_file_that_cannot_be_read_may_be_any_case(
    folders: Path, pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    broken = folders / CASES / "sub/lora_1.case.yaml"
    broken.write_text(broken.read_text().replace("id: ", "id: ["))
    result = pytester.runpytest_inprocess(*LISTED, CASES, *arguments)
    assert "without a case" not in output(result)
    assert ("is not valid YAML" in output(result)) != bool(arguments)
