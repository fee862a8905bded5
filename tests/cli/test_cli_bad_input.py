"""Bad options, folders and files are one line on stderr and exit code 2; wrong usage says the right one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.schema.case import load_cases, save_case
from tests.cli.refused import refused

Harness = Callable[..., Any]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--base", "./no/such/folder"], "--base: './no/such/folder' is neither a folder nor a repository"),
        (["--base", "embedded:none"], "base checkpoint does not exist"),
        (["--base", "embedded:"], "--base: 'embedded:' is neither"),
        (["--base", "models/flex2-Q8_0.gguf"], "--base: 'models/flex2-Q8_0.gguf' is a single file"),
        (["--base", "models/flex2.safetensors"], "give a folder in the hub's layout, or OWNER/NAME@COMMIT"),
        (["--base", "a/b@c@d"], "--base: 'a/b@c@d' is neither"),
        (["--base", "https://huggingface.co/ostris/Flex.2-preview"], "give OWNER/NAME or OWNER/NAME@COMMIT"),
        (["--only", ""], "--only: no case matches ''"),
        (["--only", "x*"], "--only: no case matches 'x*'; ids look like 'emoji_inkprint/000000000_2'"),
        (["--lpips-weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_run_options(harness: Harness, cases: Path, options: list[str], said: str) -> None:
    assert said in refused(harness("run", cases, "--out", "run", *options))
    assert list(Path.cwd().iterdir()) == []


def test_run_where_no_cases_are(harness: Harness, job: Path) -> None:
    missing = refused(harness("run", "none.case.yaml"))
    assert "none.case.yaml: cannot be read (No such file or directory)" in missing
    assert "config.yaml: is no *.case.yaml; make some with" in refused(harness("run", job / "config.yaml"))


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a GPU")
def test_run_on_a_gpu_that_is_not_there(harness: Harness, cases: Path) -> None:
    assert "cuda was asked for" in refused(harness("run", cases, "--device", "cuda", "--out", "run"))
    assert list(Path.cwd().iterdir()) == []


def test_run_into_a_folder_that_cannot_be_written(harness: Harness, cases: Path) -> None:
    Path("file").write_text("a file")
    for out in ("file", "file/below"):
        assert "cannot be written (" in refused(harness("run", cases, "--out", out))
    Path("thesis").mkdir()
    Path("thesis/a.txt").write_text("precious")
    assert "is not empty and holds no run" in refused(harness("run", cases, "--out", "thesis"))
    assert [path.name for path in Path("thesis").iterdir()] == ["a.txt"]
    assert "s3:/bucket/run: --out: is a URL" in refused(harness("run", cases, "--out", "s3://bucket/run"))
    assert not Path("s3:").exists()


def test_run_into_another_run(harness: Harness, cases: Path) -> None:
    assert harness("run", cases, "--out", "run", "--only", "*0_2", "--limit", 1).code in (0, 1)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    line = refused(harness("run", cases, "--out", "run", "--dtype", "fp32"))
    assert "holds another run: cases, dtype differ" in line
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["rescore", "report"])
def test_a_folder_that_is_no_run(harness: Harness, command: str) -> None:
    assert "is not a run folder" in refused(harness(command, "."))
    assert "is not a run folder" in refused(harness(command, "none"))
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument"),
        (["run", ".", "--device", "tpu"], "--device"),
        (["run", ".", "--pipeline", "mine"], "--pipeline"),
        (["run", ".", "--dtype", "int8"], "--dtype"),
        (["run", ".", "--offload", "disk"], "--offload"),
        (["run", ".", "--limit", "0"], "--limit"),
        (["run", ".", "--limit", "many"], "--limit"),
        (["run", ".", "--ssim-min", "1.5"], "--ssim-min"),
        (["run", ".", "--lpips-max", "-1"], "--lpips-max"),
        (["run", ".", "--colour"], "--colour"),
        (["rescore"], "Missing argument"),
        (["paint"], "No such command"),
    ],
)
def test_usage(harness: Harness, arguments: list[str], said: str) -> None:
    ended = harness(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.lstrip().startswith("Usage: harness ")
    assert "Traceback" not in ended.err


def test_a_report_of_nothing(harness: Harness) -> None:
    ended = harness("report")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "harness: RUN: no run folder is named; name one, or ask for --history\n"


SCRIPT = Path(sys.executable).with_name("harness")


def test_the_console_script_itself(job: Path, cases: Path, tmp_path: Path) -> None:
    next((cases / "loras").iterdir()).write_bytes(b"x")
    (job / "config.yaml").unlink()
    for arguments, said in (
        (["import", str(job)], "holds neither config.yaml nor .job_config.json"),
        (["run", str(cases)], "lora.sha256"),
        (["report", str(tmp_path)], "is not a run folder"),
    ):
        ended = subprocess.run(
            [SCRIPT, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert said in ended.stderr


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to(harness: Harness, job: Path, cases: Path) -> None:
    case = min(cases.glob("*.case.yaml"))
    assert harness("run", cases, "--out", "run", "--limit", "1").code == 1
    for arguments in (
        ("run", cases, "--out", "/proc/run"),
        ("sweep", cases, "--out", "/proc/run", "--axis", "seed=1"),
        ("calibrate", cases, "--run", "/proc/run"),
        ("accept", "run", "--reason", "x", "--baselines", "/proc/baselines"),
        ("import", job, "--out", "/proc/cases"),
        ("bundle", load_cases([cases])[0].id, "--run", "run", "--out", "/proc/a.zip"),
        ("diagnose", case, "--static", "--json", "/proc/a.json"),
    ):
        ended = harness(*arguments)
        assert (ended.code, ended.err.count("\n"), ended.err[:15]) == (2, 1, "harness: /proc/"), ended.err


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_file_that_never_ends(harness: Harness, device: str) -> None:
    for arguments in (
        ("run", device),
        ("apply-review", device),
        ("import", "--request", device, "--preview", "a"),
    ):
        assert "not a regular file" in refused(harness(*arguments))


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--idle"],
        ["watch", "job", "--idle"],
        ["diagnose", "a", "--budget"],
        ["compare", "a", "b", "--budget"],
    ],
)
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_number_that_no_range_holds(harness: Harness, command: list[str], number: str) -> None:
    """NaN is neither below nor above a limit: a warm process with it would never end."""
    ended = harness(*command, number)
    assert ended.code == 2
    assert f"'{command[-1]}': {number} is no finite number" in ended.err


def test_a_folder_in_the_place_of_an_answer(harness: Harness, cases: Path, tmp_path: Path) -> None:
    (tmp_path / "answer").mkdir()
    ended = harness("diagnose", cases, "--static", "--json", tmp_path / "answer")
    assert ended.code == 2
    assert ended.err == (
        f"harness: {tmp_path / 'answer'}: --json: cannot be written (it is a folder); name another file\n"
    )
    assert [path.name for path in tmp_path.glob(".*.part")] == []


def test_a_folder_of_cases_is_no_job(harness: Harness, cases: Path) -> None:
    said = refused(harness("import", cases))
    assert f"it holds cases, which an import made: harness run {cases}" in said


def test_a_run_and_a_base_are_no_job(harness: Harness, tiny: Path) -> None:
    Path("run").mkdir()
    Path("run/run.json").touch()
    assert f"it holds a run: harness report {Path.cwd() / 'run'}" in refused(harness("import", "run"))
    assert "it holds a base model; give the job folder" in refused(harness("import", tiny))


def test_cases_that_cannot_be_rerun_are_not_fixed(harness: Harness, cases: Path) -> None:
    file = cases / "000000200_2.case.yaml"
    case = load_cases([file])[0].model_copy(update={"lora": None, "incomparable": "it is gone"})
    save_case(case, file)
    ended = harness("fix", file)
    assert (ended.code, ended.err) == (1, "")
    assert "passed over: it is gone" in ended.out


@pytest.mark.parametrize(
    "command", ["doctor", "schema", "demo", "run cases", "run cases --out run", "history"]
)
def test_a_working_folder_that_was_deleted(harness: Harness, tmp_path: Path, command: str) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()
    os.chdir(lost)
    lost.rmdir()
    line = refused(harness(*command.split()))
    assert line.startswith("harness: the working folder cannot be used (No such file or directory); ")
    assert harness("--help").code == harness("run", "--help").code == 0


def test_links_in_a_circle(harness: Harness, cases: Path) -> None:
    Path("loop").symlink_to("loop")
    assert "loop: cannot be read (Too many levels of symbolic links)" in refused(harness("run", "loop"))
    for options in (["--base", "./loop"], ["--server", "http://127.0.0.1:9", "--server-root", "loop"]):
        refused(harness("run", cases, "--device", "cpu", "--out", "run", *options))
    preview = next((cases / "previews").glob("*000000200_2*"))
    preview.unlink()
    preview.symlink_to(preview.name)
    said = refused(harness("run", cases, "--device", "cpu", "--out", "run"))
    assert f"{preview} does not exist; import again" in said
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("run @", "CASES..."), ("run cases --out @", "--out"), ("run cases --baselines @", "--baselines"),
        ("import @", "JOB_DIR"), ("import job --config @", "--config"), ("demo --cases @", "--cases"),
        ("watch @", "JOB_DIR"), ("report @", "[RUN]..."), ("history --runs @", "--runs"), ("audit @", "LORA"),
        ("doctor @", "[CASES]..."), ("compare case @", "IMAGE..."), ("bundle id --run @", "--run"),
    ],
)  # fmt: skip
def test_an_empty_path_is_not_the_working_folder(harness: Harness, command: str, named: str) -> None:
    """A shell makes one of an unset variable."""
    ended = harness(*("" if word == "@" else word for word in command.split()))
    assert refused(ended) == f"harness: {named}: is empty; name a path; . is the working folder\n"


def test_an_empty_base_is_not_the_cases_own(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("run", "import"):
        said = refused(harness(command, "none", "--base", ""))
        assert said.startswith("harness: --base: '' is neither a folder nor a repository; give OWNER/NAME")
    monkeypatch.setenv("HARNESS_BASE", "")  # a variable that is empty is not set
    assert "is not a folder; give the job folder" in refused(harness("import", "none"))


def test_a_device_is_there_and_no_file(harness: Harness, cases: Path) -> None:
    (lora,) = (cases / "loras").iterdir()
    for command in (("run", cases, "--lpips-weights"), ("audit", lora, "--base")):
        said = refused(harness(*command, "/dev/null"))
        assert said.startswith("harness: /dev/null: ")
        assert "is no regular file; give " in said


def test_a_bundle_of_a_case_without_a_name(harness: Harness) -> None:
    Path("run.json").write_text('{"identity": {}}')
    assert "no row of case ''" in refused(harness("bundle", "", "--run", "."))


@pytest.mark.parametrize("command", ["run @", "run cases --out @", "accept run --reason @", "bundle @"])
def test_what_is_no_utf_8_is_refused(harness: Harness, command: str) -> None:
    ended = harness(*("na\udcefve" if word == "@" else word for word in command.split()))
    assert refused(ended) == "harness: 'na\\udcefve' is no UTF-8; write it in UTF-8, or rename the file\n"
