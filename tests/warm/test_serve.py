"""One warm process for all tests here: the same rows and bits, cancelled, queued, refused, killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.pipeline.checkpoint import fingerprint
from harness.runs.results import load_run
from harness.runs.run import run_cases
from harness.warm.client import ask
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU, images, seeded
from tests.watching.training import Training

HARNESS = [sys.executable, "-m", "harness"]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")


@pytest.fixture(autouse=True)
def reachable(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("HARNESS_NO_SERVE")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def warm(runtime: Path) -> Iterator[subprocess.Popen[str]]:
    """A warm process that takes commands."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    with subprocess.Popen(
        [*HARNESS, "serve"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert f"warm process {process.pid}" in process.stdout.readline()
        while not (runtime / "flex2-harness" / "warm.sock").exists():
            time.sleep(0.05)
        yield process
        process.kill()


@pytest.fixture
def typed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command in this process; returns exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def served() -> int:
    answer = ask("status")
    assert answer is not None
    return int(answer["served"])


def facts(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a run without what differs from time to time."""
    return [row.model_dump(exclude={"seconds"}) for row in load_run(folder).rows]


def test_without_one_nothing_is_asked(typed: Typed) -> None:
    assert typed("serve", "--status") == (1, "no warm process runs\n", "")


def test_the_same_rows_and_bits(warm: object, make_case: MakeCase, typed: Typed, tmp_path: Path) -> None:
    cases = [*seeded(make_case, 2), make_case("l", lora=200)]
    code, out, err = typed("run", "cases", "--out", "warm", "--device", "cpu")
    assert (code, err, served()) == (1, "", 1)
    assert "report: warm/index.html" in out
    run_cases(cases, out=tmp_path / "own" / "run", options=CPU)
    assert facts(Path("warm")) == facts(Path("own/run"))
    assert images(Path("warm")).items() >= images(Path("own/run")).items()
    assert "holds embedded:tiny-flex2-emoji (content:" in typed("serve", "--status")[1]


def test_files_that_change_between_commands(
    warm: object, make_case: MakeCase, typed: Typed, tiny: Path, tmp_path: Path
) -> None:
    """A base is loaded again, and a LoRA is refused, as a fresh process would."""
    base = Path(shutil.copytree(tiny, tmp_path / "base"))
    case = make_case("l", lora=200)
    command = ("run", "cases", "--device", "cpu", "--base", base, "--out")
    assert typed(*command, "a")[0] == 1
    vae = base / "vae" / "config.json"
    vae.write_text(json.dumps(json.loads(vae.read_text()) | {"scaling_factor": 0.7}))
    assert typed(*command, "b")[0] == 1
    (first,), (second,) = facts(Path("a")), facts(Path("b"))
    assert first["rendered"]["revision"] != second["rendered"]["revision"] == fingerprint(base)
    assert first["latents_sha256"] == second["latents_sha256"]
    assert first["image_sha256"] != second["image_sha256"]
    with (case.folder / "lora_000000200.safetensors").open("ab") as file:
        file.write(b" ")
    code, _, err = typed(*command, "c")
    assert (code, err.count("\n"), "Traceback" in err) == (2, 1, False)


def test_each_round_of_a_watch_is_run_there(
    warm: object, typed: Typed, jobs: dict[str, Path], tmp_path: Path
) -> None:
    training = Training(jobs["inkprint"], tmp_path / "output" / "emoji_inkprint")
    training.put(training.preview(0, 0))
    before = served()
    code, out, err = typed("watch", training.folder, "--device", "cpu", "--idle", "0.001")
    assert (code, err, served()) == (1, "", before + 1)
    assert out.count("first drift: emoji_inkprint/000000000_0;") == 1
    assert "1 case so far: 1 drift; report: reports/watch-emoji_inkprint/index.html" in out
    training.put(training.preview(0, 1))
    assert typed("watch", training.folder, "--device", "cpu", "--idle", "0.001")[0] == 1
    assert served() == before + 2
    assert len(load_run(Path("reports/watch-emoji_inkprint")).rows) == 2


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_only_what_was_typed(warm: object, make_case: MakeCase, tmp_path: Path) -> None:
    make_case("t", settings={"seed": 9, "sample_steps": 150}, size=(512, 512))  # minutes, if it went on
    command = [*HARNESS, "run", "cases", "--out", "r", "--device", "cpu"]
    before = served()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        while (ask("status") or {})["running"] is None:
            time.sleep(0.05)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
            assert second.stderr is not None
            assert "waiting for harness run" in second.stderr.readline()
            second.send_signal(signal.SIGINT)
            assert second.wait(timeout=30) == 130
        while not Path("r/.lock").exists():
            time.sleep(0.05)
        time.sleep(0.3)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "what was finished is saved; repeat the command with --out r" in said
    assert (ask("status") or {})["running"] is None
    deadline = time.monotonic() + 30
    while served() < before + 2 and time.monotonic() < deadline:  # the second is still looked at
        time.sleep(0.05)
    assert served() == before + 2


def test_another_environment_is_refused(warm: object, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    _, _, err = typed("run", "nowhere")
    assert err.splitlines()[0] == (
        "harness: not given to the warm process: it has another value of $OMP_NUM_THREADS; "
        "harness serve --stop ends it"
    )
    assert typed("run", "nowhere", "--no-serve")[2].count("\n") == 1


def test_a_second_one_is_refused(warm: object, typed: Typed) -> None:
    code, out, err = typed("serve")
    assert out == ""
    assert code == 2
    assert "a warm process runs already" in err


def test_one_without_commands_ends_after_the_minutes_that_were_given(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("i")))
    monkeypatch.setattr("harness.cli.serve._import_libraries", lambda: None)
    began = time.monotonic()
    code, out, err = typed("serve", "--idle", "0.005")
    assert time.monotonic() - began >= 0.3
    assert (code, out.splitlines()[-1], err) == (0, "ended: idle", "")
    assert typed("serve", "--status")[0] == 1


def test_one_that_dies_loses_nothing(
    warm: subprocess.Popen[str], make_case: MakeCase, typed: Typed, runtime: Path
) -> None:
    """The last test with it: the command goes on by itself, also where a dead socket lies."""
    make_case("a")

    def kill() -> None:
        while (ask("status") or {})["running"] is None:
            time.sleep(0.01)
        warm.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    code, out, err = typed("run", "cases", "--out", "r", "--device", "cpu")
    killer.join()
    assert (code, err) == (
        1,
        "harness: the warm process ended before the command did; going on without it\n",
    )
    assert "report: r/index.html" in out
    assert len(load_run(Path("r")).rows) == 1
    assert (runtime / "flex2-harness" / "warm.sock").exists()
    assert typed("serve", "--stop") == (1, "no warm process runs\n", "")


def test_a_folder_that_others_may_enter_is_not_used(typed: Typed, runtime: Path) -> None:
    (runtime / "flex2-harness").chmod(0o755)
    code, out, err = typed("serve")
    assert (code, out) == (2, "")
    assert "is not a folder of yours that is closed to others" in err
