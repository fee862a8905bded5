"""Score and judge a saved run again, from its images alone."""

from __future__ import annotations

import os
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

from harness._util.atomic_files import sha256_file
from harness.errors import ImageError
from harness.judging.drift_origin import beside_reference
from harness.judging.tolerance import Source
from harness.judging.verdict import judge_baseline, judge_variant
from harness.metrics.images import load_rgb
from harness.metrics.perceptual import INSTALL
from harness.metrics.scores import MetricName
from harness.runs.folder import locked
from harness.runs.neighbours import note_again
from harness.runs.results import RunResult, load_run
from harness.runs.run_files import read_manifest, write_rows
from harness.runs.scorer import Scorer, pixels_sha256
from harness.schema.metric_limits import Tolerance, measured_metrics, needed_metrics
from harness.schema.result import Row


def rescore(
    folder: str | os.PathLike[str],
    *,
    tolerance: Tolerance | Source | None = None,
    lpips_weights: str | os.PathLike[str] | None = None,
    metrics: Collection[MetricName] = (),
) -> RunResult:
    """Score every row that has images again and judge it; no model is loaded and nothing is rendered.

    Args:
        tolerance: judge by this instead of the tolerance in the row, where it knows the case.
        metrics: what to measure beside SSIM, LPIPS and PSNR, beside what was measured before and what a
            limit is set on.

    Raises:
        RunError: not a run folder, or a run is writing there.
        ImageError: an image of the run is missing, damaged or another one than the row's.
    """
    folder = Path(folder)
    lpips_weights = None if lpips_weights is None else Path(lpips_weights)
    read_manifest(folder)
    with locked(folder):
        rows = load_run(folder).rows
        limits = [_limits(row, tolerance) for row in rows]
        wanted = {*metrics, *chain.from_iterable(map(measured_metrics, rows))}
        scorer = Scorer(lpips_weights, wanted.union(*map(needed_metrics, limits)))
        pairs = zip(rows, limits, strict=True)
        again = [_again(folder, row, scorer, limit) for row, limit in pairs]
        write_rows(folder, note_again(again, folder, scorer))
    return load_run(folder)


def _limits(row: Row, tolerance: Tolerance | Source | None) -> Tolerance:
    if isinstance(tolerance, Source):
        tolerance = tolerance.tolerance(row.description, row.environment)
    return tolerance or row.tolerance


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


def _refuse_changed(folder: Path, row: Row, rerun: Path) -> None:
    """Refuse images in the place of those that the row is about: its scores would be another picture's."""
    preview = folder / row.images.preview
    if row.image_sha256 not in {None, pixels_sha256(load_rgb(rerun))}:
        raise ImageError("is not the image that was rendered", file=rerun, fix="run the case again")
    if preview.is_file() and sha256_file(preview) != row.description.preview.sha256:
        raise ImageError("is not the case's preview", file=preview, fix="run the case again")


def _again(folder: Path, row: Row, scorer: Scorer, limits: Tolerance) -> Row:
    if row.scores is None:
        return judge_again(row, limits)
    if row.images.rerun is None:
        raise ImageError("the row has scores but no re-run", file=folder, field=row.case, fix="run it again")
    _refuse_changed(folder, row, folder / row.images.rerun)
    scored = scorer.score(folder, row.images)
    warnings = [text for text in row.warnings if INSTALL not in text]
    update = {
        "raw": scored.raw,
        "codec_floor": scored.codec_floor,
        "images": scored.images,
        "warnings": [*warnings, *scorer.metrics.absent],
    }
    return judge_again(row.model_copy(update={**dict(scored.matched), **update}), limits)
