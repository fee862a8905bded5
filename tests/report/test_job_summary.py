from __future__ import annotations

from pathlib import Path

from harness.judging.baseline_judging import against_baseline
from harness.report.text_report import job_summary
from harness.runs.run_files import MANIFEST, RESULTS
from harness.schema.result import Row
from tests.judging.rows import accepted, row, scores


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
