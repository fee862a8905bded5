from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.app import app
from harness.errors import RunError
from harness.history.timeline import history_frame, read_history
from harness.judging.baseline_judging import against_baseline
from harness.report.history_page import build_history
from harness.schema.result import Row, Verdict
from tests.history.run_folders import write_runs
from tests.judging.rows import accepted, row, scores


def test_history_of_a_step(tmp_path: Path) -> None:
    rows = [row(scores(0.995), image="a")] * 5 + [row(scores(0.98), image="b")] * 4
    write_runs(tmp_path, rows)
    (series,) = read_history(tmp_path)
    assert series.steps == [5]
    assert series.findings() == ["SSIM stepped from 0.9950 to 0.9800 at night-05"]
    assert list(history_frame([series])["ssim"]) == [0.995] * 5 + [0.98] * 4


def test_history_of_flicker_is_no_step(tmp_path: Path) -> None:
    write_runs(tmp_path, [row(scores(0.995 - 0.02 * (i % 2)), image="ab"[i % 2]) for i in range(8)])
    (series,) = read_history(tmp_path, "job/0")
    assert series.flickers
    assert series.steps == []
    assert "flickers between two states" in series.findings()[0]


def test_machines_are_series_of_their_own(tmp_path: Path) -> None:
    gpu = {"gpu": {"name": "NVIDIA H100"}}
    write_runs(tmp_path, [row(), row(scores(0.98), environment=gpu)] * 3)
    assert [series.environment for series in read_history(tmp_path)] == [
        "cpu-linux-x86-64-avx512", "cuda-nvidia-h100",
    ]  # fmt: skip


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run folder"):
        read_history(tmp_path)
    write_runs(tmp_path, [row()])
    with pytest.raises(RunError, match="no run holds the case 'job/9'"):
        read_history(tmp_path, "job/9")


def test_the_commands_print_history_and_summary(tmp_path: Path) -> None:
    write_runs(tmp_path, [row(scores(0.995))] * 5 + [row(scores(0.96))] * 4)
    every = CliRunner().invoke(app, ["history", "--runs", str(tmp_path)]).output
    assert "SSIM stepped from 0.9950 to 0.9600 at night-05" in every
    assert every.endswith("1 series, 1 with a finding\n")
    one = CliRunner().invoke(app, ["history", "job/0", "--runs", str(tmp_path)]).output
    assert "  2026-11-01T03:00  0.9950  match" in one
    assert one.count("night-") == 9 + 1
    assert (
        CliRunner()
        .invoke(app, ["summary", str(tmp_path / "night-08")])
        .output.startswith("## night-08: 1 drift")
    )


def judged(ssim: float, image: str, *known: Row) -> Row:
    return against_baseline(row(scores(ssim), image=image), accepted(*known))


def test_switches_between_accepted_results_are_no_finding_and_a_new_result_is(tmp_path: Path) -> None:
    high, low = row(scores(0.986), image="a"), row(scores(0.958), image="b")
    states = [(0.986, "a"), (0.958, "b"), (0.958, "b"), (0.986, "a"), (0.986, "a"), (0.958, "b")] * 5
    write_runs(tmp_path / "known", [judged(*state, high, low) for state in states])
    (series,) = read_history(tmp_path / "known")
    assert (series.findings(), series.steps, series.flickers) == ([], [], False)
    write_runs(tmp_path / "new", [judged(*state, high, low) for state in (*states, (0.985, "c"))])
    (series,) = read_history(tmp_path / "new")
    assert series.findings()[0] == "new result at night-30, none of the 2 accepted ones"


def test_an_accepted_result_that_is_not_seen_for_long_is_proposed_to_be_dropped(tmp_path: Path) -> None:
    high, low = row(scores(0.986), image="a"), row(scores(0.958), image="b")
    rows = [judged(0.958, "b", high, low), *[judged(0.986, "a", high, low)] * 20]
    write_runs(tmp_path / "few", rows[:20])
    assert [series.findings() for series in read_history(tmp_path / "few")] == [[]]
    write_runs(tmp_path / "many", rows)
    (series,) = read_history(tmp_path / "many")
    assert series.findings() == [
        "accepted result 2 not seen in the last 20 runs: to drop it, accept night-20 without --also"
    ]
    assert (
        series.findings()[0] in CliRunner().invoke(app, ["history", "--runs", str(tmp_path / "many")]).output
    )
    assert series.findings()[0] in build_history(tmp_path / "many").read_text()


def test_only_what_is_seen_counts_and_is_kept(tmp_path: Path) -> None:
    """A new result that is nearest to an idle one does not wake it; of three results two are kept."""
    known = [row(scores(ssim), image=image) for ssim, image in ((0.986, "a"), (0.958, "b"), (0.972, "c"))]
    rows = [
        judged(0.972, "c", *known),
        *[judged(known[i % 2].ssim or 0, "ab"[i % 2], *known) for i in range(20)],
    ]
    write_runs(tmp_path / "two", rows)
    (series,) = read_history(tmp_path / "two")
    assert series.findings() == [
        "accepted result 3 not seen in the last 20 runs: to drop it, accept night-19 without --also, "
        "then night-20 with --also"
    ]
    write_runs(tmp_path / "new", [*rows, judged(0.972, "d", *known)])
    (series,) = read_history(tmp_path / "new")
    assert series.findings()[0] == "new result at night-21, none of the 3 accepted ones"
    assert (series.idle, series.steps) == ([3], [])


def test_a_night_without_a_render_hides_nothing_and_finds_nothing(tmp_path: Path) -> None:
    high, low = row(scores(0.986), image="a"), row(scores(0.958), image="b")
    failed = row(None).model_copy(update={"verdict": Verdict.ERROR, "image_sha256": None, "ssim": None})
    states = [(0.986, "a"), (0.958, "b")] * 4
    rows = [
        failed if i in (3, 8) else judged(*state, high, low) for i, state in enumerate([*states, *states[:1]])
    ]
    write_runs(tmp_path / "known", rows)
    assert [series.findings() for series in read_history(tmp_path / "known")] == [[]]
    write_runs(tmp_path / "new", [judged(0.98, "c", high, low), *rows])
    (series,) = read_history(tmp_path / "new")
    assert series.findings()[0] == "new result at night-00, none of the 2 accepted ones"


def test_what_was_new_before_it_was_accepted_is_new_no_more(tmp_path: Path) -> None:
    high, low, third = (row(scores(0.98), image=image) for image in "abc")
    rows = [judged(0.98, "c", high, low)]
    rows += [judged(0.98, image, high, low, third) for image in "ca"]
    write_runs(tmp_path, rows)
    (series,) = read_history(tmp_path)
    assert series.unknown == []


def test_a_damaged_run_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    write_runs(tmp_path, [row(scores(0.995))] * 4)
    (tmp_path / "night-01" / "results.jsonl").write_text('{"case": 1}\n')
    (tmp_path / "night-02" / "run.json").write_text("{")
    (tmp_path / "night-03" / "results.jsonl").unlink()
    (tmp_path / "night-03" / "results.jsonl").mkdir()
    with pytest.raises(RunError, match=r"night-01/results\.jsonl:1"):
        read_history(tmp_path)
    for command in (["history", "--runs"], ["report", "--history"]):
        ended = CliRunner().invoke(app, [*command, str(tmp_path)], standalone_mode=False)
        assert ended.exit_code == 2
        named, broken, folder = ended.stderr.splitlines()
        assert named.startswith(f"harness: {tmp_path}/night-01/results.jsonl:1: ")
        assert broken.startswith(f"harness: {tmp_path}/night-02: is not a run folder")
        assert folder.startswith(f"harness: {tmp_path}/night-03/results.jsonl: cannot be read")
        assert "1 series, 0 with a finding" in ended.stdout or "history.html" in ended.stdout
    page = (tmp_path / "history.html").read_text()
    assert "Left out: <bdi>night-01/results.jsonl:1: " in page
    assert "<bdi>night-00</bdi>" in page


def test_of_several_reports_one_that_cannot_be_built_is_named(tmp_path: Path) -> None:
    write_runs(tmp_path, [row()] * 3)
    (tmp_path / "night-01" / "run.json").write_text("{")
    ended = CliRunner().invoke(app, ["report", *(str(tmp_path / f"night-0{night}") for night in range(3))])
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"harness: {tmp_path}/night-01: is not a run folder")
    built = ended.stdout.splitlines()
    assert built == [str(tmp_path / f"night-0{night}" / "index.html") for night in (0, 2)]
