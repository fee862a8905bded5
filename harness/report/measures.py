"""Scores against their limits, and what of a drift the preview's own file format explains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.metrics.scores import Scores
from harness.report.formatting import NONE, number, percent
from harness.schema.result import Row

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP", ".png": "PNG"}
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
    limits, used = row.tolerance, _used(row, scores)
    psnr_limit = None if limits.psnr_min is None else f"≥ {limits.psnr_min:g} dB"
    psnr_kept = limits.psnr_min is None or scores.psnr is None or scores.psnr >= limits.psnr_min
    columns = (scores, row.raw, row.codec_floor)

    def measure(name: str, shown: Callable[[Scores], str]) -> Measure:
        return Measure(name, tuple(NONE if each is None else shown(each) for each in columns))

    def judged(found: Measure, limit: str | None, share: float | None, *, kept: bool) -> Measure:
        if limit is None or share is None:
            return found
        return Measure(found.name, found.values, limit, kept, percent(share), min(share, GAUGE_END))

    ssim = measure("SSIM", lambda each: number(each.ssim, 4))
    lpips = measure("LPIPS", lambda each: number(each.lpips, 4))
    psnr = measure("PSNR", lambda each: "identical" if each.psnr is None else f"{each.psnr:.2f} dB")
    return (
        judged(ssim, f"≥ {limits.ssim_min:g}", used[0], kept=scores.ssim >= limits.ssim_min),
        judged(lpips, f"≤ {limits.lpips_max:g}", used[1], kept=scores.lpips <= limits.lpips_max),
        judged(psnr, psnr_limit, used[2], kept=psnr_kept),
        measure("Pixels changed", lambda each: percent(each.pixels.changed)),
        measure("Largest difference", lambda each: f"{each.pixels.max_abs} of 255"),
        measure("Mean difference", lambda each: number(each.pixels.mean_abs, 2)),
        measure("Worst tile, mean", lambda each: number(each.pixels.worst_tile.mean_abs, 2)),
    )


def severity(row: Row) -> float:
    """Return how much of its tightest limit a row used: above 1 it drifted; -1 without scores."""
    scores = row.scores
    return -1.0 if scores is None else max(share for share in _used(row, scores) if share is not None)


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


def _used(row: Row, scores: Scores) -> tuple[float, float, float | None]:
    limits = row.tolerance
    psnr = None
    if limits.psnr_min is not None:
        psnr = 0.0 if scores.psnr is None else 10 ** ((limits.psnr_min - scores.psnr) / 20)
    return _share(1 - scores.ssim, 1 - limits.ssim_min), _share(scores.lpips, limits.lpips_max), psnr


def _share(distance: float, allowed: float) -> float:
    if allowed > 0:
        return max(0.0, distance) / allowed
    return math.inf if distance > 0 else 0.0
