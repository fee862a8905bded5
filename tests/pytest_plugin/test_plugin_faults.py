"""Full disks and Ctrl-C amid a session: one clear line, and the same command goes on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness.judging.baseline_store
from harness.pipeline.renderer import ReferenceRenderer
from harness.pytest_plugin.worker_results import UNFINISHED
from tests.full_disk import full
from tests.pytest_plugin.tiny_project import CASES, output, rows

COMMAND = (CASES, "--harness-update-baselines", "--harness-reason=kept", "--harness-results=run")
RUN = Path("run")
RUN_FULL = "/run: cannot go on: No space left on device; what was finished is saved*"


class Renders:
    """Counts renders, and does something at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.actions: dict[int, Callable[[], object]] = {}
        real = ReferenceRenderer.render

        def render(renderer: ReferenceRenderer, *arguments: Any, **options: Any) -> Any:
            self.made += 1
            self.actions.get(self.made, lambda: None)()
            return real(renderer, *arguments, **options)

        monkeypatch.setattr(ReferenceRenderer, "render", render)


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> Renders:
    return Renders(monkeypatch)


def ends_as_unbroken(pytester: pytest.Pytester, renders: Renders, more: int) -> None:
    """Repeat the command: it makes ``more`` renders, and all is there."""
    before = renders.made
    again = pytester.runpytest_inprocess(*COMMAND)
    assert again.ret == pytest.ExitCode.OK
    assert renders.made - before == more
    assert {case: row.verdict.value for case, row in rows(RUN).items()} == {
        "tiny/plain": "match", "tiny/lora_0": "match", "tiny/lora_1": "match", "tiny/drifted": "drift",
    }  # fmt: skip
    assert len(list(Path("baselines").rglob("*.json"))) == 4
    assert (RUN / "index.html").is_file()
    assert not (RUN / UNFINISHED).exists()
    assert not list(Path().rglob("*.part"))


@pytest.mark.parametrize(
    ("where", "name", "said", "ahead", "more"),
    [
        (os, "fsync", RUN_FULL, 0, 3),
        (
            harness.judging.baseline_store,
            "write_json",
            "/baselines/tiny/*.json: cannot be written (No space left*",
            0,
            3,
        ),
        (shutil, "copyfile", RUN_FULL, 2, 2),
    ],
)
@pytest.mark.usefixtures("slow")
def test_a_full_disk_ends_the_session_before_more_renders_are_lost(
    project: Path,
    pytester: pytest.Pytester,
    renders: Renders,
    where: Any,
    name: str,
    said: str,
    ahead: int,
    more: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        renders.actions[2] = lambda: patch.setattr(where, name, full)
        result = pytester.runpytest_inprocess(*COMMAND, f"--harness-score-workers={ahead}")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert renders.made == 2
    assert "Traceback" not in output(result)
    lines = [f"tiny/*: *{said}", "stopped: what was finished is saved; repeat the command"]
    result.stdout.fnmatch_lines(lines)
    assert len(rows(RUN)) == 1
    ends_as_unbroken(pytester, renders, more=more)


@pytest.mark.parametrize(("ahead", "pressed", "stored", "more"), [(0, 3, 2, 2), (2, 4, 1, 1)])
@pytest.mark.usefixtures("ctrl_c", "slow")
def test_ctrl_c_saves_and_the_same_command_goes_on(
    project: Path,
    pytester: pytest.Pytester,
    renders: Renders,
    ahead: int,
    pressed: int,
    stored: int,
    more: int,
) -> None:
    """What was rendered ahead waits on disk: only the render in flight is made again."""
    renders.actions[pressed] = lambda: signal.raise_signal(signal.SIGINT)
    command = (*COMMAND, f"--harness-score-workers={ahead}")
    result = pytester.runpytest_inprocess(*command, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["stopped: what was finished is saved; repeat the command"])
    assert len(rows(RUN)) == stored
    ends_as_unbroken(pytester, renders, more=more)
    assert not list(RUN.rglob(".waiting*"))


@pytest.mark.parametrize("update", [(), ("--harness-update-baselines",)])
def test_a_damaged_baseline_is_an_error_that_keeps_the_render_and_the_file(
    accepted: Path, pytester: pytest.Pytester, update: tuple[str, ...]
) -> None:
    baseline = accepted / "baselines/tiny/plain.json"
    baseline.write_text("{\n")
    result = pytester.runpytest_inprocess(f"{CASES}/plain.case.yaml", "--harness-results=run", *update)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["error: *plain.json: Invalid JSON*; restore the file, or delete it and accept the case again"]
    )
    row = rows(RUN)["tiny/plain"]
    assert row.image_sha256 is not None
    assert (RUN / "cases/tiny--plain.html").is_file()
    assert baseline.read_text() == "{\n"


def test_a_damaged_diagnosis_is_left_out_of_the_report_and_named(
    project: Path, pytester: pytest.Pytester, renders: Renders
) -> None:
    def damage() -> None:
        (RUN / "diagnosis").mkdir()
        (RUN / "diagnosis" / "a.json").write_text("{")

    renders.actions[1] = damage
    result = pytester.runpytest_inprocess(*COMMAND)
    result.stdout.fnmatch_lines(["left out of the report: *run/diagnosis/a.json: Invalid JSON*"])
    assert "Left out: <bdi>diagnosis/a.json: Invalid JSON" in (RUN / "index.html").read_text()


def test_a_report_that_cannot_be_written_is_one_line(
    project: Path, pytester: pytest.Pytester, renders: Renders
) -> None:
    renders.actions[1] = (RUN / "index.html").mkdir
    result = pytester.runpytest_inprocess(*COMMAND)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in output(result)
    result.stdout.fnmatch_lines(["*run: the report cannot be written (Is a directory)*"])
    (RUN / "index.html").rmdir()
    ends_as_unbroken(pytester, renders, more=0)
