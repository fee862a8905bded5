"""Score and judge a saved run again, from its images alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import ImageError
from harness.judging.baseline import environment_key
from harness.judging.drift_origin import beside_reference
from harness.judging.tolerance import Source
from harness.judging.verdict import judge_baseline, judge_variant
from harness.runs.folder import locked, read_manifest, write_rows
from harness.runs.results import RunResult, load_run
from harness.runs.scorer import Scorer
from harness.schema.case import Tolerance
from harness.schema.result import Row


def rescore(
    folder: Path, *, tolerance: Tolerance | Source | None = None, lpips_weights: Path | None = None
) -> RunResult:
    """Score every row that has images again and judge it; no model is loaded and nothing is rendered.

    Args:
        tolerance: judge by this instead of the tolerance in the row, where it knows the case.

    Raises:
        RunError: not a run folder, or a run is writing there.
        ImageError: an image of the run is missing or damaged.
    """
    read_manifest(folder)
    scorer = Scorer(lpips_weights)
    with locked(folder):
        write_rows(folder, [_again(folder, row, scorer, tolerance) for row in load_run(folder).rows])
    return load_run(folder)


def judge_again(row: Row, tolerance: Tolerance) -> Row:
    """Return ``row`` judged by ``tolerance``; a row without scores keeps its verdict."""
    judged: dict[str, Any] = {"tolerance": tolerance}
    if row.scores is not None:
        verdict, reason = judge_variant(row.description, row.variant, row.scores, tolerance)
        if row.against_reference is not None:
            reason = f"{reason}; {beside_reference(verdict, row.against_reference, tolerance)}"
        if row.baseline is not None:
            verdict, reason = judge_baseline(verdict, reason, row.scores, row.baseline)
        judged |= {"verdict": verdict, "reason": reason}
    return row.model_copy(update=judged)


def _again(folder: Path, row: Row, scorer: Scorer, tolerance: Tolerance | Source | None) -> Row:
    if isinstance(tolerance, Source):
        tolerance = tolerance.tolerance(row.case, environment_key(row.environment))
    limits = tolerance or row.tolerance
    if row.scores is None:
        return judge_again(row, limits)
    if row.images.rerun is None:
        raise ImageError("the row has scores but no re-run", file=folder, field=row.case, fix="run it again")
    scored = scorer.score(folder, row.images)
    update = {"raw": scored.raw, "codec_floor": scored.codec_floor, "images": scored.images}
    return judge_again(row.model_copy(update={**dict(scored.matched), **update}), limits)
