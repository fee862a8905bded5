"""Scores against their limits, and what of a drift the preview's own file format explains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from harness.metrics.scores import Scores
from harness.report.formatting import NONE, number, percent
from harness.schema.metric_limits import METRIC_LIMITS, MetricLimit, Tolerance, set_limits
from harness.schema.result import Row

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP", ".png": "PNG"}
EQUAL = {"ssim": 1.0, "lpips": 0.0, "flip": 0.0, "ssimulacra2": 100.0, "jod": 10.0}
"""What two equal images score; PSNR has no such number."""

GAUGE_END = 2.0
"""A gauge is full at this multiple of its limit."""


@dataclass(frozen=True)
class Measure:
    """One line of the score table.

    Attributes:
        values: the codec-matched score, which is judged; the raw score of the re-run as rendered; the codec
            floor, which is what encoding alone does to the re-run.
        limit: the limit in words, or None where none applies.
        kept: whether the limit was kept; None without a limit.
        used: distance from equal as a share of the distance that the limit allows.
        gauge: ``used``, cut at ``GAUGE_END``, for drawing.
    """

    name: str
    values: tuple[str, ...]
    limit: str | None = None
    kept: bool | None = None
    used: str = NONE
    gauge: float = 0.0


def measures(row: Row) -> tuple[Measure, ...]:
    """Return the score table of a row: judged scores, then pixel statistics; empty without scores."""
    scores = row.scores
    if scores is None:
        return ()
    columns = (scores, row.raw, row.codec_floor)

    def measure(name: str, shown: Callable[[Scores], str]) -> Measure:
        return Measure(name, tuple(NONE if each is None else shown(each) for each in columns))

    def judged(limit: MetricLimit) -> Measure:
        return _judged(measure(limit.label, partial(_value, limit)), limit, row.tolerance, scores)

    shown = [limit for limit in METRIC_LIMITS if limit.metric == "psnr" or limit.value(scores) is not None]
    return (
        *(
            _judged(measure(limit.label, partial(_value, limit)), limit, row.tolerance, scores)
            for limit in shown
        ),
        measure("Pixels changed", lambda each: percent(each.pixels.changed)),
        measure("Largest difference", lambda each: f"{each.pixels.max_abs} of 255"),
        measure("Mean difference", lambda each: number(each.pixels.mean_abs, 2)),
        measure("Worst tile, mean", lambda each: number(each.pixels.worst_tile.mean_abs, 2)),
    )


def _value(limit: MetricLimit, scores: Scores) -> str:
    value = limit.value(scores)
    if value is not None:
        return limit.shown(value)
    return "identical" if limit.metric == "psnr" else NONE


def _judged(found: Measure, limit: MetricLimit, tolerance: Tolerance, scores: Scores) -> Measure:
    """Return a line of the table with its limit, where one is set."""
    bound, value = limit.of(tolerance), limit.value(scores)
    if bound is None:
        return found
    share = _used(limit, bound, value)
    kept = value is None or limit.kept(value, bound)
    words = f"{limit.sign} {bound:g}{limit.unit}"
    return Measure(found.name, found.values, words, kept, percent(share), min(share, GAUGE_END))


def severity(row: Row) -> float:
    """Return how much of its tightest limit a row used: above 1 it drifted; -1 without scores."""
    scores = row.scores
    if scores is None:
        return -1.0
    return max(_used(limit, bound, limit.value(scores)) for limit, bound in set_limits(row.tolerance))


def codec_sentence(row: Row) -> str | None:
    """Say what part of the raw drift the preview's file format explains, by SSIM; None without scores."""
    if row.scores is None or row.raw is None or row.codec_floor is None:
        return None
    name = FORMATS.get(PurePosixPath(row.images.preview).suffix.lower(), "file format")
    raw, floor, left = (1 - each.ssim for each in (row.raw, row.codec_floor, row.scores))
    if row.raw.pixels.identical:
        return "The re-run as rendered equals the preview; there is nothing for a file format to explain."
    if row.codec_floor.pixels.identical:
        return f"The preview's {name} is lossless for this image: it explains none of this drift."
    if row.scores.pixels.identical:
        return (
            f"Of this drift, the preview's {name} explains all: SSIM {row.raw.ssim:.4f} as rendered, "
            "bit-identical once encoded alike."
        )
    share = max(0.0, 1 - left / raw) if raw > 0 else 0.0
    return (
        f"Of this drift, the preview's {name} explains about {percent(share)}: SSIM falls {raw:.4f} short of "
        f"1 as rendered and {left:.4f} once both are encoded alike. Encoding alone would cost {floor:.4f}."
    )


def _used(limit: MetricLimit, bound: float, value: float | None) -> float:
    """Return the distance from equal as a share of what the limit allows; 0 where nothing was measured."""
    if value is None:
        return 0.0
    if limit.metric == "psnr":
        return float(10 ** ((bound - value) / 20))
    equal = EQUAL[limit.metric]
    return _share(abs(equal - value), abs(equal - bound))


def _share(distance: float, allowed: float) -> float:
    if allowed > 0:
        return distance / allowed
    return math.inf if distance > 0 else 0.0
