"""What ``harness run`` is judged by: accepted results and limits from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.runs.results import load_run
from harness.schema.result import Verdict
from tests.cli.refused import refused

Harness = Callable[..., Any]
WIDE = "ssim=-1,lpips=9,psnr=0"


def test_with_baselines_a_run_says_what_pytest_says(harness: Harness, cases: Path) -> None:
    """The cases are two steps of twelve: they drift, that is accepted, and is no news the next time."""
    plain = ["run", cases, "--device", "cpu"]
    first = harness(*plain, "--out", "first")
    assert (first.code, first.err) == (1, "")
    found = load_run(Path("first")).rows
    assert [row.verdict for row in found] == [Verdict.DRIFT] * 2
    assert all(row.baseline is None for row in found)

    assert harness("accept", "first", found[0].case, "--reason", "two steps only").code == 0
    again = [*plain, "--out", "again", "--baselines", "baselines"]
    assert harness(*again).code == 1
    known, new = load_run(Path("again")).rows
    assert known.reason.startswith("bit-equal to its baseline")
    assert new.reason.startswith("no baseline was accepted for this case; against its preview: drift")
    assert (known.known, new.known) == (True, False)
    assert known.taken_from is new.taken_from is None

    assert harness("accept", "again", new.case, "--reason", "the other one").code == 0
    resumed = harness(*again)
    assert (resumed.code, "2 of them done before" in resumed.out) == (0, True)
    assert all(row.known for row in load_run(Path("again")).rows)


def test_a_file_is_no_folder_of_baselines(harness: Harness, cases: Path) -> None:
    Path("baseline.json").write_text("{}")
    said = refused(harness("run", cases, "--device", "cpu", "--out", "run", "--baselines", "baseline.json"))
    assert said == "harness: baseline.json: is no folder; name the folder that holds the baselines\n"
    assert not Path("run").exists()


def test_limits_from_the_command_line(harness: Harness, cases: Path) -> None:
    run = ["run", cases, "--device", "cpu", "--out", "wide", "--limit", "1"]
    both = harness(*run, "--tolerance", WIDE, "--ssim-min", "0.9")
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert "--tolerance: is given beside single limits" in both.err
    missing = harness(*run, "--tolerance", "nowhere.json")
    assert (missing.code, "make one with harness calibrate" in missing.err) == (2, True)
    assert not Path("wide").exists()
    assert harness(*run, "--tolerance", WIDE).code == 0
    (row,) = load_run(Path("wide")).rows
    assert (row.verdict, row.tolerance.source) == (Verdict.MATCH, "--tolerance")
    assert harness("rescore", "wide", "--tolerance", "ssim=0.999,lpips=0.001,psnr=50").code == 1
    assert load_run(Path("wide")).rows[0].verdict is Verdict.DRIFT


def test_a_run_without_rows_has_nothing_to_accept(harness: Harness) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text('{"identity": {}}')
    assert "run: holds no result of the reference to accept; " in refused(
        harness("accept", "run", "--reason", "x")
    )
    assert not Path("baselines").exists()
