"""Options that commands share, what a command loads, and what ``--verbose`` prints."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from harness.cli.app import app
from harness.runs.plan import RunOptions
from harness.runs.results import load_run

Harness = Callable[..., Any]
RENDERING = ("run", "sweep", "diagnose", "fix", "calibrate")


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """Undo what ``--verbose`` set."""
    yield
    logger = logging.getLogger("harness")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


def command(name: str) -> click.Command:
    found = app.get_command(click.Context(app), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", RENDERING)
def test_every_command_that_renders_takes_the_same_options(name: str) -> None:
    options = {parameter.name for parameter in command(name).params}
    assert options >= {
        "device", "pipeline", "base", "trust_remote_code", "dtype", "offload", "engine", "lpips_weights",
    }  # fmt: skip


def test_options_reach_a_run_as_one_object(
    monkeypatch: pytest.MonkeyPatch, cases: Path, harness: Harness
) -> None:
    given: list[RunOptions] = []
    monkeypatch.setattr("harness.diagnosis.fix.fix_case", lambda case, options, **_: given.append(options))
    monkeypatch.setenv("HARNESS_ENGINE", "eager")
    with pytest.raises(AttributeError):  # nothing was fixed
        harness("fix", cases, "--offload", "model", "--base", "embedded:tiny-flex2-emoji", "--dtype", "fp32")
    (options,) = given
    assert (options.engine, options.offload, options.dtype) == ("eager", "model", "fp32")
    assert str(options.base) == "embedded:tiny-flex2-emoji"
    assert (options.device, options.pipeline, options.fresh) == ("auto", None, False)


def test_only_the_file_of_the_command_is_imported() -> None:
    script = (
        "import sys; from harness.cli import main; sys.argv[1:] = ['schema', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted(name for name in sys.modules if name.startswith('harness.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "harness.cli.schema" in loaded
    assert not {"harness.cli.run", "harness.cli.options", "harness.schema.case"} & set(loaded)


def test_version(harness: Harness) -> None:
    ended = harness("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"harness {version('flex2-harness')}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(harness: Harness, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_HARNESS_COMPLETE", f"{shell}_source")
    assert "_HARNESS_COMPLETE" in harness().out
    monkeypatch.setenv("_HARNESS_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "harness ca")
    monkeypatch.setenv("COMP_CWORD", "ca" if shell == "fish" else "1")
    assert "calibrate" in harness().out


@pytest.mark.parametrize("arguments", [("-v", "run"), ("run", "-v")])
def test_verbose_logs_to_stderr(harness: Harness, cases: Path, arguments: tuple[str, ...]) -> None:
    ended = harness(*arguments, cases, "--limit", 1, "--device", "cpu", "--out", "run")
    assert ended.code == 1
    assert len(load_run(Path("run")).rows) == 1
    assert re.search(r"^\d\d:\d\d:\d\d INFO  harness\.cli: 1 of 2 cases selected$", ended.err, re.MULTILINE)
    assert re.search(r"INFO  harness\.cli: run took [\d.]+ s$", ended.err, re.MULTILINE)
    assert "DEBUG" not in ended.err


def test_twice_verbose_logs_details(harness: Harness, cases: Path) -> None:
    ended = harness("run", "-vv", cases, "--device", "cpu", "--limit", 1, "--out", "run")
    assert "DEBUG harness.cli: options: RunOptions(device='cpu'" in ended.err
