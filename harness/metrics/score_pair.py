"""All scores of one re-run against its preview: codec-matched, raw, and what the codec alone does."""

from __future__ import annotations

import functools
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.metrics import maps
from harness.metrics.codec import Codec
from harness.metrics.images import Pixels, check_pair, load_rgb
from harness.metrics.perceptual import Choice, measured
from harness.metrics.pixels import pixel_stats, psnr
from harness.metrics.scores import PixelStats, Scores
from harness.metrics.ssim import averaged, ssim_of_channel
from harness.metrics.threads import one_thread, side_by_side

if TYPE_CHECKING:
    from harness.metrics.lpips import Lpips


@dataclass(frozen=True)
class PairScores:
    """A re-run against its preview.

    Attributes:
        matched: preview against the re-run after the preview's own codec: what the verdict is made from.
        raw: preview against the re-run as rendered.
        codec_floor: the re-run after the codec against the re-run as rendered: the part that is not drift.
        matched_image: the re-run after the codec, H×W×3, 0 to 255.
        maps: of the matched pair, H×W×3 each: ``difference``, ``ssim``, ``lpips``; their scales are
            ``harness.metrics.maps.SCALES``.
    """

    matched: Scores
    raw: Scores
    codec_floor: Scores
    matched_image: Pixels
    maps: dict[str, Pixels]


NO_METRICS = Choice()


def score_pair(preview: Path, rerun: Pixels, lpips: Lpips, metrics: Choice = NO_METRICS) -> PairScores:
    """Score a re-run, H×W×3, 0 to 255, against a preview file of the same size.

    Compare sizes first (``judging.verdict.judge_sizes``): nothing is resized here.

    Args:
        metrics: what else is measured, of the codec-matched pair alone.

    Raises:
        ImageError: the preview cannot be read.
        ValueError: the re-run has another size than the preview.
    """
    shown = load_rgb(preview)
    check_pair(shown, rerun)
    codec = Codec.of(preview)
    matched_image = codec.apply(rerun)
    pairs = [(shown, matched_image), (matched_image, rerun)]
    if not codec.lossless:
        pairs.append((shown, rerun))
    with one_thread(), side_by_side() as beside:
        more = metrics.start(shown, matched_image, beside)
        difference = beside.submit(maps.difference_map, shown, matched_image)
        (matched, local_ssim), (floor, _), *raw = _measure(pairs, lpips, beside)
        similar = beside.submit(maps.SSIM.paint, local_ssim)
        apart = maps.LPIPS.paint(lpips.map(shown, matched_image))
        painted = {"difference": difference.result(), "ssim": similar.result(), "lpips": apart}
        matched_and_more = matched.model_copy(update=measured(more).model_dump())
    return PairScores(
        matched=matched_and_more,
        raw=raw[0][0] if raw else matched,
        codec_floor=floor,
        matched_image=matched_image,
        maps=painted,
    )


def score_images(a: Pixels, b: Pixels, lpips: Lpips, metrics: Choice = NO_METRICS) -> Scores:
    """Score two H×W×3 images, 0 to 255, as they are.

    Args:
        metrics: what is measured beside SSIM, LPIPS and PSNR.

    Raises:
        ValueError: the shapes differ, are not H×W×3, or an edge is under 31 pixels.
    """
    with one_thread(), side_by_side() as beside:
        more = metrics.start(a, b, beside)
        ((scores, _),) = _measure([(a, b)], lpips, beside)
        return scores.model_copy(update=measured(more).model_dump())


def _measure(
    pairs: list[tuple[Pixels, Pixels]], lpips: Lpips, beside: Executor
) -> list[tuple[Scores, NDArray[np.float64]]]:
    """Return scores and SSIM map of every pair; all of it side by side."""
    channels = beside.map(functools.partial(ssim_of_channel, pairs), range(3))
    counted = [beside.submit(_pixels, a, b) for a, b in pairs]
    lpips.prepare([image for pair in pairs for image in pair], beside)
    apart = [beside.submit(lpips.score, a, b) for a, b in pairs]
    found = []
    for (value, local), distance, pixels in zip(averaged(channels), apart, counted, strict=True):
        scores = Scores(
            ssim=value, lpips=distance.result(), psnr=pixels.result()[0], pixels=pixels.result()[1]
        )
        found.append((scores, local))
    return found


def _pixels(a: Pixels, b: Pixels) -> tuple[float | None, PixelStats]:
    return psnr(a, b), pixel_stats(a, b)
