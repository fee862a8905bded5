from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness.pipeline.renderer
import harness.report.build
from harness.cli import main
from harness.runs.run import run_cases
from harness.runs.run_files import RESULTS, read_rows
from harness.schema.render import RenderRequest
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU, seeded


def interrupted(process: subprocess.Popen[str], sign: str) -> tuple[int, str]:
    """Press Ctrl-C when the process has printed ``sign``; returns exit code and output."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if sign in line:
            process.send_signal(signal.SIGINT)
            break
    said += process.stdout.read()
    return process.wait(timeout=60), said


class Foreign:
    """What a library may have while it is imported: CPython up to 3.11 hides what ``__set_name__`` raises."""

    def __set_name__(self, owner: type, name: str) -> None:
        signal.raise_signal(signal.SIGINT)


def hidden() -> None:
    type("Imported", (), {"field": Foreign()})


def replaced() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        raise RuntimeError("something failed") from error


def dropped() -> None:
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("lose", [hidden, replaced, dropped])
def test_ctrl_c_that_foreign_code_loses_ends_the_run(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[], None]
) -> None:
    cases = seeded(make_case, 3)
    real = harness.pipeline.renderer.infer

    def call(loaded: Any, request: RenderRequest, *arguments: Any) -> Any:
        if request.seed == 1:
            lose()
        return real(loaded, request, *arguments)

    monkeypatch.setattr(harness.pipeline.renderer, "infer", call)
    with pytest.raises(KeyboardInterrupt):
        run_cases(cases, out=tmp_path / "run", options=CPU)
    monkeypatch.undo()
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/s0"]
    run_cases(cases, out=tmp_path / "run", options=CPU)
    assert len((tmp_path / "run" / RESULTS).read_bytes().splitlines()) == 3


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_the_report_is_built_says_how_to_make_it(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_case("a")
    monkeypatch.setattr(harness.report.build, "overview", lambda *_: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(
        sys, "argv", ["harness", "run", str(tmp_path / "cases"), "--out", "r", "--device", "cpu"]
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    line = "harness: interrupted: all is saved but the report; go on with harness report r\n"
    assert capsys.readouterr().err == line


MAIN = "from harness.cli import main; main()"


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_saves_and_says_how_to_go_on(make_case: MakeCase, tmp_path: Path) -> None:
    for case in seeded(make_case, 2):
        assert case.folder == tmp_path / "cases"
    make_case("t", settings={"seed": 9, "sample_steps": 150}, size=(256, 256))
    command: list[Any] = [sys.executable, "-c", MAIN, "run", "cases", "--out", "my run"]
    with subprocess.Popen(
        [*command, "--device", "cpu"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        code, said = interrupted(process, "small/s1")
    assert code == 130
    assert "Traceback" not in said
    assert "what was finished is saved; repeat the command with --out my run" in said
    assert [row.case for row in read_rows(tmp_path / "my run")] == ["small/s0", "small/s1"]
