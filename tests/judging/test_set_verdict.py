"""A job's cases judged together."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.judging.baseline_judging import against_baseline
from harness.judging.set_verdict import MIN_CASES, SAME_MACHINE_NOISE, SetVerdict, bound, judge_sets
from harness.report.build import build_report
from harness.report.text_report import job_summary
from harness.runs.results import load_run
from harness.runs.run_files import MANIFEST, RESULTS
from harness.schema.result import Row, Verdict
from tests.judging.rows import accepted, row, scores

NOISE = 0.99
"""The worst valid re-run of every case here."""


def calibrated(ssim: float, case: str = "job/0", noise: float | None = NOISE) -> Row:
    found = row(scores(ssim))
    limits = found.tolerance.model_copy(update={"noise_ssim": noise})
    description = found.description.model_copy(update={"id": case})
    return found.model_copy(update={"case": case, "tolerance": limits, "description": description})


def job(*ssims: float, name: str = "job") -> list[Row]:
    return [calibrated(ssim, f"{name}/{number}") for number, ssim in enumerate(ssims)]


def only(rows: list[Row]) -> SetVerdict:
    (found,) = judge_sets(rows)
    return found


def test_a_small_loss_in_most_cases_is_a_drift_though_each_case_passes() -> None:
    rows = job(*(NOISE - 0.001 * number for number in range(1, 11)))
    assert {each.verdict for each in rows} == {Verdict.MATCH}
    found = only(rows)
    assert found.drifts
    assert (found.job, found.cases, found.worse) == ("job", 10, 10)
    assert found.p_value == 1 / 2**10
    assert found.reason.startswith("10 of 10 re-runs are farther from their preview than valid re-runs get")


@pytest.mark.parametrize("seed", range(20))
def test_valid_re_runs_do_not_drift(seed: int) -> None:
    draw = random.Random(seed)
    assert not only(job(*(NOISE + draw.uniform(-0.002, 0.006) for _ in range(16)))).drifts


def test_one_bad_case_is_its_own_affair() -> None:
    assert not only(job(0.5, *[NOISE + 0.002] * 15)).drifts


def test_few_large_losses_count_more_than_many_tiny_gains() -> None:
    assert only(job(*[NOISE - 0.01] * 12, *[NOISE + 0.0001] * 4)).drifts


def test_too_few_cases_say_nothing_and_jobs_are_judged_apart() -> None:
    losses = [NOISE - 0.001 * number for number in range(1, MIN_CASES + 1)]
    assert judge_sets(job(*losses[1:])) == []
    both = judge_sets([*job(*losses, name="b"), *job(*[0.999] * 8, name="a")])
    assert [(found.job, found.drifts) for found in both] == [("a", False), ("b", True)]


def test_what_cannot_be_compared_is_left_out() -> None:
    rows = job(*[NOISE - 0.001] * 6)
    rows += [calibrated(0.9, "job/7", noise=None), rows[0].model_copy(update={"variant": "shift=1"})]
    rows.append(rows[0].model_copy(update={"case": "job/8", "ssim": None, "lpips": None, "pixels": None}))
    assert judge_sets(rows) == []


def test_the_bound_is_calibrated_or_the_accepted_score_less_noise() -> None:
    assert bound(calibrated(0.98)) == NOISE
    assert bound(row()) is None
    held = against_baseline(row(scores(0.985), image="b"), accepted(row(scores(0.995))))
    assert bound(held) == pytest.approx(0.995 - SAME_MACHINE_NOISE)
    limits = held.tolerance.model_copy(update={"noise_ssim": NOISE})
    assert bound(held.model_copy(update={"tolerance": limits})) == NOISE
    drift = against_baseline(row(scores(0.9), image="b"), accepted(row(scores(0.9))))
    known = drift.model_copy(update={"tolerance": limits})
    assert bound(known) == pytest.approx(0.9 - SAME_MACHINE_NOISE)


def test_a_drifting_set_decides_exit_code_report_and_summary(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / MANIFEST).write_text('{"identity": {}}')

    def store(rows: list[Row]) -> None:
        (run / RESULTS).write_text("".join(each.model_dump_json() + "\n" for each in rows))

    store(job(*[0.999] * 8))
    assert load_run(run).exit_code == 0
    assert "as a whole" not in job_summary(run)
    store(job(*(NOISE - 0.001 * number for number in range(1, 9))))
    assert load_run(run).exit_code == 1
    assert "Drift of job as a whole: 8 of 8 re-runs are farther" in job_summary(run)
    page = build_report(run).read_text(encoding="utf-8")
    assert "<bdi>job</bdi> as a whole: 8 of 8 re-runs are farther" in page
    assert "drift of job as a whole: 8 of 8" in (run / "summary.md").read_text()
    assert '"drifts"' not in (run / "summary.json").read_text()
    assert '"worse": 8' in (run / "summary.json").read_text()
