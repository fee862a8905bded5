"""The run folder of a session: what it refuses, and what it leaves as it is."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.pytest_plugin.worker_results import UNFINISHED, merge_workers, refuse_results
from harness.runs.folder import refuse_foreign
from harness.runs.run_files import MANIFEST, RESULTS
from tests.pytest_plugin.tiny_project import CASES, output, rows

PLAIN = f"{CASES}/plain.case.yaml"
DRIFTED = f"{CASES}/drifted.case.yaml"
RUN = ("--no-harness-report", "--harness-update-baselines", "--harness-results=run")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (PLAIN, "is no folder; name another"),
        (CASES, "is not empty and holds no run; choose another folder"),
        (f"{PLAIN}/run", "is no folder; name another"),
        ("dangling", "is no folder; name another"),
        ("dangling/run", "is no folder; name another"),
        ("r" * 300, "cannot be used (File name too long); name another"),
        ("s3://bucket/run", "is a URL, and a run needs a folder, *"),
    ],
)
def test_what_can_be_no_run_folder_is_refused_before_anything_renders(
    project: Path, pytester: pytest.Pytester, results: str, said: str
) -> None:
    (project / "dangling").symlink_to("nowhere")
    before = sorted(project.rglob("*"))
    result = pytester.runpytest_inprocess(PLAIN, f"--harness-results={results}", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --harness-results: {results.replace('//', '/')} {said}"])
    assert sorted(project.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_baselines_that_cannot_be_written_are_refused_before_anything_renders(
    project: Path, pytester: pytest.Pytester
) -> None:
    result = pytester.runpytest_inprocess(PLAIN, *RUN, "--harness-baselines=/proc/accepted")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: /proc/accepted: cannot be written (*); name another with *"])
    assert not (project / "run").exists()


def test_workers_write_into_nobodys_folder(project: Path, pytester: pytest.Pytester) -> None:
    (project / "thesis").mkdir()
    (project / "thesis/a.txt").write_text("precious")
    result = pytester.runpytest_subprocess(PLAIN, "-n", "1", "--harness-results=thesis")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--harness-results: thesis is not empty and holds no run" in output(result)
    assert [path.name for path in (project / "thesis").iterdir()] == ["a.txt"]
    assert not (project / ".thesis.gw0").exists()


def test_an_unfinished_run_of_other_cases_still_goes_on(project: Path, pytester: pytest.Pytester) -> None:
    assert pytester.runpytest_inprocess(PLAIN, *RUN).ret == pytest.ExitCode.OK
    unfinished = project / "run" / UNFINISHED
    unfinished.touch()
    other = pytester.runpytest_inprocess(DRIFTED, "--harness-results=run")
    other.assert_outcomes(failed=1)
    other.stdout.fnmatch_lines(["tiny/drifted: */run: --harness-results: holds another run: cases differ; *"])
    pytester.runpytest_inprocess(PLAIN, "--harness-results=run", "--collect-only")
    pytester.runpytest_inprocess(PLAIN, "--harness-results=run", "-k", "nothing")
    assert unfinished.exists()
    assert not (project / "run/index.html").exists()
    assert pytester.runpytest_inprocess(PLAIN, *RUN).ret == pytest.ExitCode.OK
    assert not unfinished.exists()


def lines(run: Path) -> list[str]:
    return (run / RESULTS).read_text().splitlines()


@pytest.fixture
def killed(project: Path, pytester: pytest.Pytester) -> Callable[..., Path]:
    """Leaves the folder of a killed session of some cases: of ``stored`` of them it has the rows."""

    def leave(name: str, *cases: str, stored: int) -> Path:
        assert pytester.runpytest_inprocess(*cases, *RUN).ret == pytest.ExitCode.OK
        folder = (project / "run").replace(project / name)
        (folder / RESULTS).write_text("".join(f"{line}\n" for line in lines(folder)[:stored]))
        (folder / UNFINISHED).touch()
        return folder

    return leave


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_workers_leave_an_unfinished_run_of_other_cases(
    killed: Callable[..., Path], pytester: pytest.Pytester
) -> None:
    run = killed("run", PLAIN, stored=1)
    before = everything(run)
    other = pytester.runpytest_subprocess(DRIFTED, "-n", "1", "--harness-results=run")
    other.assert_outcomes(failed=1)
    assert "tiny/drifted: " in output(other)
    assert "/run: --harness-results: holds another run: cases differ; choose another place" in output(other)
    assert everything(run) == before


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_what_killed_workers_left_of_other_cases_stays(
    project: Path, killed: Callable[..., Path], pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    part = killed(".run.gw1", PLAIN, stored=1)
    before = everything(part)
    other = pytester.runpytest_subprocess(DRIFTED, "--harness-results=run", *workers)
    other.assert_outcomes(failed=1)
    assert "/.run.gw1: --harness-results: holds another run: cases differ" in output(other)
    assert everything(part) == before
    assert not (project / "run").exists()


@pytest.mark.parametrize("name", ["run", "run[1]"])
def test_without_workers_a_session_goes_on_with_what_killed_workers_left(
    project: Path, killed: Callable[..., Path], pytester: pytest.Pytester, name: str
) -> None:
    part = killed(f".{name}.gw0", PLAIN, DRIFTED, stored=1)
    (kept,) = lines(part)
    again = pytester.runpytest_inprocess(PLAIN, DRIFTED, *RUN[:-1], f"--harness-results={name}")
    assert again.ret == pytest.ExitCode.OK
    assert sorted(rows(project / name)) == ["tiny/drifted", "tiny/plain"]
    assert kept in lines(project / name)
    assert sorted(path.name for path in project.iterdir() if name in path.name) == [name]


def test_merging_keeps_the_rows_that_are_there(project: Path, killed: Callable[..., Path]) -> None:
    run = killed("run[1]", PLAIN, DRIFTED, stored=2)
    part = project / ".run[1].gw0"
    shutil.copytree(run, part)
    (part / RESULTS).write_text(lines(run)[1] + "\n")
    before, manifest = lines(run), (run / MANIFEST).read_bytes()
    merge_workers(run)
    assert sorted(lines(run)) == sorted(before)
    assert (run / MANIFEST).read_bytes() == manifest
    assert not part.exists()


def test_a_merge_that_was_broken_off_is_made_again(
    project: Path, killed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = lines(killed(".run.gw0", PLAIN, stored=1))
    run = project / "run"

    def full(_source: Path, target: Path, **_options: bool) -> None:
        target.mkdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(OSError, match="No space left"):
            merge_workers(run)
    refuse_results(run)
    merge_workers(run)
    assert lines(run) == stored


def test_the_rest_of_a_merged_part_is_in_no_workers_way(
    project: Path, killed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    part, remove = killed(".run.gw0", PLAIN, stored=1), shutil.rmtree

    def killed_after_the_manifest(folder: Path, **options: bool) -> None:
        if folder != part:
            return remove(folder, **options)
        (folder / MANIFEST).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed_after_the_manifest)
        with pytest.raises(KeyboardInterrupt):
            merge_workers(project / "run")
    refuse_foreign(part)
    assert sorted(rows(project / "run")) == ["tiny/plain"]


def test_folders_of_different_runs_are_not_merged(project: Path, killed: Callable[..., Path]) -> None:
    run = killed("run", PLAIN, stored=1)
    for worker, change in {"gw0": {"gpu": {"name": "another"}}, "gw1": {"threads": 99}}.items():
        part = project / f".run.{worker}"
        shutil.copytree(run, part)
        manifest = json.loads((part / MANIFEST).read_text())
        manifest["identity"]["environment"] |= {"gpu": {"name": "one"}} | change
        (part / MANIFEST).write_text(json.dumps(manifest))
    (run / MANIFEST).unlink()
    before = everything(project)
    with pytest.raises(RunError, match=r"holds another run: environment\.threads differ"):
        merge_workers(run)
    assert everything(project) == before
