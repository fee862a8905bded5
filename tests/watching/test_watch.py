"""Rounds of a watch, and when it ends."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import harness.watching.job_files
from harness.cli import main
from harness.errors import JobError
from harness.runs.plan import RunOptions
from harness.runs.progress import Progress
from harness.runs.run_files import read_rows
from harness.watching.job_files import look, samples_of
from harness.watching.watch import watch_job
from harness.watching.watch_round import watch_round
from tests.watching.training import Training


@pytest.fixture
def training(jobs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness.watching.job_files, "QUIET_SECONDS", 0.2)
    monkeypatch.setenv("HARNESS_NO_SERVE", "1")
    return Training(jobs["inkprint"], tmp_path / "output" / "emoji_inkprint")


def names(files: object) -> list[str]:
    return sorted(path.name.partition("__")[2] for path in files)  # type: ignore[attr-defined]


def test_nothing_is_taken_before_it_is_whole(training: Training) -> None:
    assert look(training.folder).steps == {}
    whole = training.preview(100, 0)
    training.put(whole)
    training.put(training.preview(100, 1), (training.source / whole).read_bytes()[:900], old=False)
    found = look(training.folder)
    assert (found.steps, names(found.later)) == ({100: 1}, ["000000100_1.jpg"])
    training.put(training.preview(100, 1))
    lora = "emoji_inkprint_000000100.safetensors"
    training.put(lora, (training.source / lora).read_bytes()[:-1], old=False)
    assert (look(training.folder).steps, len(look(training.folder).later)) == ({}, 2)
    training.put(lora, old=False)
    found = look(training.folder)
    assert (found.steps, found.later) == ({100: 2}, frozenset())
    assert found.reaches(50, 2)
    assert not found.reaches(100, 3)
    assert samples_of(training.folder / "config.yaml") == 4


def test_a_file_that_grows_is_left(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    path = training.put(training.preview(0, 0), old=False)

    def grow(_seconds: float) -> None:
        with path.open("ab") as file:
            file.write(b"\0")

    monkeypatch.setattr(harness.watching.job_files.time, "sleep", grow)
    assert names(look(training.folder).later) == ["000000000_0.jpg"]


def test_a_damaged_file_is_damaged_once_it_is_old(training: Training) -> None:
    training.put(training.preview(0, 0), b"half")
    assert look(training.folder).later == frozenset()


def test_the_run_grows_and_outlives_pruned_checkpoints(training: Training, tmp_path: Path) -> None:
    lora = "emoji_inkprint_000000100.safetensors"
    places = {"cases": tmp_path / "cases", "out": tmp_path / "run", "options": RunOptions(device="cpu")}
    assert watch_round(training.folder, **places) is None  # type: ignore[arg-type]
    training.put("emoji_inkprint_000000200.safetensors")
    training.put(training.preview(0, 0))
    first = watch_round(training.folder, **places)  # type: ignore[arg-type]
    assert first is not None
    assert [row.case for row in first.rows] == ["emoji_inkprint/000000000_0"]
    training.put(training.preview(100, 0))
    training.put(lora)
    second = watch_round(training.folder, **places)  # type: ignore[arg-type]
    assert second is not None
    assert second.missing == []
    assert [row.rendered is not None for row in second.rows] == [True, True]
    lines = (tmp_path / "run" / "results.jsonl").read_bytes()
    (training.folder / lora).unlink()
    again = watch_round(training.folder, **places)  # type: ignore[arg-type]
    assert again == second
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == lines
    resumed = training.preview(100, 0).replace("samples/1", "samples/9")
    training.put(resumed, (training.source / training.preview(100, 1)).read_bytes())
    training.put(lora)
    later = watch_round(training.folder, **places)  # type: ignore[arg-type]
    assert later is not None
    by_name = {row.case.rpartition("/")[2]: row for row in later.rows}
    assert len(by_name) == 3
    assert by_name["000000100_0"].key != second.rows[1].key
    (old,) = (row for name, row in by_name.items() if name.count("_") == 2)
    assert (old.key, old.image_sha256) == (second.rows[1].key, second.rows[1].image_sha256)


def test_the_command_tells_the_first_drift_once(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(4):
        training.put(training.preview(0, index))
    command = ["harness", "watch", str(training.folder), "--device", "cpu", "--until-step", "0"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert out.count("first drift: emoji_inkprint/000000000_0; find out why: harness diagnose cases/") == 1
    assert "4 cases so far: 1 match, 3 drift; report: reports/watch-emoji_inkprint/index.html" in out
    assert len(read_rows(Path("reports/watch-emoji_inkprint"))) == 4


def test_the_file_that_is_not_whole_is_named(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "watch", str(training.folder), "--once"])

    def said() -> str:
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        return capsys.readouterr().out

    assert said() == "no preview is finished yet\n"
    name = training.preview(100, 0)
    training.put(name, (training.source / name).read_bytes()[:900], old=False)
    cut = said()
    assert cut.startswith(f"1 preview is left for later: {Path(name).name} is truncated or cannot be read (")
    assert cut.endswith(")\nno preview is finished yet\n")
    training.put(name)
    lora = "emoji_inkprint_000000100.safetensors"
    training.put(lora, (training.source / lora).read_bytes()[:-1], old=False)
    assert said().startswith(f"1 preview is left for later: {lora} is truncated")
    training.put(name, b"")
    training.put("samples/cat.png", b"")
    (training.folder / name).unlink()
    assert said() == "no preview is finished yet; samples holds 1 image of another name: cat.png\n"


@pytest.mark.parametrize("once", [["--once"], []])
def test_a_job_of_another_model_is_refused_before_its_first_preview(
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    once: list[str],
) -> None:
    config = training.folder / "config.yaml"
    config.write_text(config.read_text().replace("arch: flex2", "arch: wan21"))
    monkeypatch.setattr(sys, "argv", ["harness", "watch", str(training.folder), *once, "--idle", "0.001"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith(f"harness: {config}: config.process[0].model.arch: 'wan21' is not flex2 or")


def test_a_damaged_preview_is_named(training: Training, tmp_path: Path) -> None:
    training.put(training.preview(0, 0))
    damaged = training.put(training.preview(0, 1), b"half")
    lines: list[str] = []

    class Told(Progress):
        def told(self, line: str) -> None:
            lines.append(line)

    places = {"cases": tmp_path / "cases", "out": tmp_path / "run", "options": RunOptions(device="cpu")}
    watch_round(training.folder, **places, progress=Told())  # type: ignore[arg-type]
    assert lines[0] == f"not usable: {damaged}: is not an image; give a jpg, png or webp file"


def test_when_a_watch_ends(training: Training) -> None:
    config = training.folder / "config.yaml"
    assert watch_job(training.folder, config, pytest.fail, idle_seconds=1e-9) == 1
    training.put(training.preview(0, 0))
    codes = iter([2, 2])
    assert watch_job(training.folder, config, lambda: next(codes)) == 2
    codes = iter([2, 0])
    assert watch_job(training.folder, config, lambda: next(codes), idle_seconds=1e-9) == 0
    assert watch_job(training.folder, config, lambda: 130) == 130


def test_a_watch_ends_where_its_job_is_gone(training: Training) -> None:
    training.put(training.preview(0, 0))

    def lose() -> int:
        shutil.rmtree(training.folder)
        return 0

    with pytest.raises(JobError, match=r"is not there any more; repeat the command when it is"):
        watch_job(training.folder, training.folder / "config.yaml", lose)


def test_a_watch_ends_where_nothing_comes_for_the_minutes_that_were_given(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "watch", str(training.folder), "--idle", "0.001"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith(f"watching {training.folder}; Ctrl-C ends it")
    assert not Path("reports").exists()
