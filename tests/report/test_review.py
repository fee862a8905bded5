"""A review is applied to what was reviewed, and to nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RunError
from harness.judging.baseline_store import BaselineStore
from harness.report.build import build_report
from harness.report.review import apply_review
from harness.schema.result import Row
from tests.report.report_page import read_page
from tests.report.report_runs import Run, case_of, sample


@pytest.fixture
def row(run: Run) -> Row:
    preview = sample(30, 0)
    return run.compared(case_of(preview, "job/a"), preview, sample(0, 0), image_sha256="d" * 64)


def review_of(run: Run, decision: str | None, note: str = "", changes: dict[str, Any] | None = None) -> Path:
    """Write what the case's page would export."""
    build_report(run.path)
    (page,) = (run.path / "cases").glob("*.html")
    data = read_page(page).one("article").attributes
    entry = {
        "case": data["data-case"],
        "variant": data["data-variant"],
        "decision": decision,
        "note": note,
        "key": data["data-key"],
        "rerun_sha256": data["data-rerun"],
    }
    review = {
        "format": "harness-review/1",
        "run": run.path.name,
        "created": "2026-11-23T10:00:00+00:00",
        "reviewer": "Ada",
        "exported": "2026-11-23T12:00:00Z",
        "decisions": [entry | (changes or {})],
    }
    path = run.path.parent / "review.json"
    path.write_text(json.dumps(review))
    return path


def test_what_is_accepted_becomes_the_baseline(run: Run, row: Row, tmp_path: Path) -> None:
    done = apply_review(review_of(run, "accept", "as drawn"), run=run.path, root=tmp_path / "baselines")
    ((entry,),) = BaselineStore(tmp_path / "baselines").entries("job/a").values()
    assert done.written == [tmp_path / "baselines/job/a.json"]
    assert (entry.accepted_by, entry.reason, entry.image_sha256) == ("Ada", "as drawn", row.image_sha256)
    assert entry.scores is not None


@pytest.mark.parametrize(("decision", "counts"), [("reject", (1, 0)), (None, (0, 1))])
def test_nothing_else_is_written(
    run: Run, row: Row, tmp_path: Path, decision: str | None, counts: tuple[int, int]
) -> None:
    done = apply_review(review_of(run, decision, "hm"), run=run.path, root=tmp_path / "baselines")
    assert (len(done.rejected), len(done.noted)) == counts
    assert not (tmp_path / "baselines").exists()


def test_an_image_that_moved_is_refused(run: Run, row: Row, tmp_path: Path) -> None:
    review = review_of(run, "accept")
    assert row.images.rerun is not None
    (run.path / row.images.rerun).write_bytes(sample(20, 0).read_bytes())
    with pytest.raises(RunError, match="its image is not the one that was reviewed"):
        apply_review(review, run=run.path, root=tmp_path / "baselines")
    assert not (tmp_path / "baselines").exists()


def test_a_row_that_was_rendered_again_is_refused(run: Run, row: Row, tmp_path: Path) -> None:
    review = review_of(run, "accept")
    run.folder.append(row.model_copy(update={"key": "other"}))
    with pytest.raises(RunError, match="rendered with other settings"):
        apply_review(review, run=run.path, root=tmp_path / "baselines")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"case": "job/b"}, "no row of variant 'reference'"),
        ({"decision": "maybe"}, "decision"),
        ({"extra": 1}, "unknown key"),
    ],
)
def test_a_review_that_does_not_fit(
    run: Run, row: Row, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    review = review_of(run, "accept", changes=change)
    with pytest.raises(RunError, match=message):
        apply_review(review, run=run.path, root=tmp_path / "baselines")


def test_a_run_that_holds_links_is_refused(run: Run, row: Row, tmp_path: Path) -> None:
    review = review_of(run, "accept")
    (run.path / "images" / "x").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match="x: is a link"):
        apply_review(review, run=run.path, root=tmp_path / "baselines")


def test_another_run_is_refused(run: Run, row: Row, tmp_path: Path) -> None:
    review = review_of(run, "accept")
    text = review.read_text().replace("2026-11-23T10", "2026-11-22T10")
    review.write_text(text)
    with pytest.raises(RunError, match="the review is of a run made at 2026-11-22"):
        apply_review(review, run=run.path, root=tmp_path / "baselines")


def test_a_file_that_is_no_review(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(RunError, match=r"x\.json"):
        apply_review(tmp_path / "x.json", run=run.path)
