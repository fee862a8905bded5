"""The run folder of a session: what it refuses, and what it leaves as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import CASES, output

from harness.pytest_plugin.merge import UNFINISHED

PLAIN = f"{CASES}/plain.case.yaml"
DRIFTED = f"{CASES}/drifted.case.yaml"
RUN = ("--no-harness-report", "--update-baselines", "--harness-results=run")


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
    assert unfinished.exists()
    assert not (project / "run/index.html").exists()
    assert pytester.runpytest_inprocess(PLAIN, *RUN).ret == pytest.ExitCode.OK
    assert not unfinished.exists()
