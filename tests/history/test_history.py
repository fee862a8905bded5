from __future__ import annotations

import json
import math
import random
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import RunError
from harness.history.changes import MIN_SEGMENT, _costs, _sigma, flickers, steps
from harness.history.timeline import history_frame, read_history
from harness.judging.baseline_judging import against_baseline
from harness.report.job_summary import job_summary
from harness.runs.folder import MANIFEST, RESULTS
from harness.schema.result import Row
from tests.judging.test_baselines import accepted, row, scores


def write_runs(root: Path, rows: list[Row]) -> None:
    for index, found in enumerate(rows):
        run = root / f"night-{index:02}"
        run.mkdir(parents=True)
        (run / MANIFEST).write_text(json.dumps({"identity": {}, "created": f"2026-11-{index + 1:02}T03:00"}))
        (run / RESULTS).write_text(found.model_dump_json() + "\n")


def noisy(level: float, count: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [level + draw.gauss(0, 0.0005) for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_step_is_found_where_it_is(seed: int) -> None:
    assert steps(noisy(0.99, 15, seed) + noisy(0.98, 12, seed + 100)) == [15]


def test_two_steps() -> None:
    assert steps([0.99] * 6 + [0.97] * 5 + [0.985] * 7) == [6, 11]


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_has_no_step_of_a_hundredth(seed: int) -> None:
    series = noisy(0.99, 30, seed)
    assert all(abs(series[at] - series[at - 1]) < 0.01 for at in steps(series))
    assert steps([0.99] * 30) == []


def test_one_bad_run_is_no_new_level() -> None:
    found = steps([0.99] * 10 + [0.9] + [0.99] * 10)
    assert all(b - a >= MIN_SEGMENT for a, b in pairwise(found))


def test_too_few_runs_say_nothing() -> None:
    assert steps([]) == steps([0.9]) == steps([0.9, 0.1, 0.9]) == []


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=40), st.floats(-0.5, 0.5))
def test_steps_are_ordered_places_and_do_not_move_with_the_level(series: list[float], offset: float) -> None:
    found = steps(series)
    assert found == sorted(set(found))
    assert all(MIN_SEGMENT <= at <= len(series) - MIN_SEGMENT for at in found)


@given(st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), min_size=4, max_size=14))
def test_the_cuts_are_the_cheapest(series: list[float]) -> None:
    """No other way to cut the series, with up to three cuts, costs less."""
    price = 8.0 * _sigma(series) ** 2 * math.log(len(series))
    costs = _costs(series)

    def total(cuts: tuple[int, ...]) -> float:
        edges = [0, *cuts, len(series)]
        if any(b - a < MIN_SEGMENT for a, b in pairwise(edges)):
            return math.inf
        return sum(costs[a, b] for a, b in pairwise(edges)) + price * len(cuts)

    places = range(1, len(series))
    least = min(total(cuts) for size in range(4) for cuts in combinations(places, size))
    assert total(tuple(steps(series))) <= least + 1e-9


def test_flicker_is_two_states_and_many_switches() -> None:
    assert flickers("ababab")
    assert flickers("aabba" + "b")
    assert not flickers("aaabbb")
    assert not flickers("aba")
    assert not flickers("abcabc")


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


def test_job_summary_lists_the_worst_and_no_markup(tmp_path: Path) -> None:
    hostile = row(scores(0.7)).model_copy(update={"reason": "<b>|`x`| [a](b)", "case": "job/h"})
    rows = [row(), hostile, *(row(scores(0.9)).model_copy(update={"case": f"job/{i}"}) for i in range(1, 12))]
    run = tmp_path / "night"
    run.mkdir()
    (run / MANIFEST).write_text('{"identity": {}}')
    (run / RESULTS).write_text("".join(found.model_dump_json() + "\n" for found in rows))
    text = job_summary(run, link="https://example.org/artifact")
    assert text.startswith("## night: 1 match, 12 drift\n")
    assert text.count("| drift |") == 10
    assert "2 more are in the report." in text
    assert "[cases/job--h.html](https://example.org/artifact)" in text
    assert "<b>" not in text
    assert "\\|\\`x\\`\\| \\[a\\](b)" in text


def test_job_summary_names_changed_matches_and_lists_what_is_accepted_after_what_is_new(
    tmp_path: Path,
) -> None:
    def judged(name: str, now: float, before: float) -> Row:
        held = against_baseline(row(scores(now), image="b"), accepted(row(scores(before))))
        return held.model_copy(update={"case": f"job/{name}"})

    rows = [
        judged("changed", 0.994, 0.995),
        judged("known_drift", 0.7, 0.7),
        judged("new_drift", 0.96, 0.96).model_copy(update={"baseline": None}),
        judged("known_drift", 0.6, 0.6).model_copy(update={"variant": "shift=1"}),
    ]
    (tmp_path / MANIFEST).write_text('{"identity": {}}')
    (tmp_path / RESULTS).write_text("".join(found.model_dump_json() + "\n" for found in rows))
    lines = job_summary(tmp_path).splitlines()
    assert "Changed within limits: job/changed." in lines
    assert [line.split(" | ")[:2] for line in lines[-3:]] == [
        ["| drift", "job/new\\_drift"],
        ["| drift (accepted)", "job/known\\_drift"],
        ["| drift (accepted)", "job/known\\_drift (shift=1)"],
    ]


def test_the_commands_print_history_and_summary(tmp_path: Path) -> None:
    write_runs(tmp_path, [row(scores(0.995))] * 5 + [row(scores(0.96))] * 4)
    every = CliRunner().invoke(app, ["history", "--runs", str(tmp_path)]).output
    assert "SSIM stepped from 0.9950 to 0.9600 at night-05" in every
    assert every.endswith("1 series, 1 with a step or flicker\n")
    one = CliRunner().invoke(app, ["history", "job/0", "--runs", str(tmp_path)]).output
    assert "  2026-11-01T03:00  0.9950  match" in one
    assert one.count("night-") == 9 + 1
    assert (
        CliRunner()
        .invoke(app, ["summary", str(tmp_path / "night-08")])
        .output.startswith("## night-08: 1 drift")
    )
