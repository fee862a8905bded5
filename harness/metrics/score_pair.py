"""All scores of one re-run against its preview: codec-matched, raw, and what the codec alone does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.metrics import maps
from harness.metrics.codec import Codec
from harness.metrics.images import Pixels, check_pair, load_rgb
from harness.metrics.pixels import pixel_stats, psnr
from harness.metrics.scores import Scores
from harness.metrics.ssim import ssim

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


def score_pair(preview: Path, rerun: Pixels, lpips: Lpips) -> PairScores:
    """Score a re-run, H×W×3, 0 to 255, against a preview file of the same size.

    Compare sizes first (``judging.verdict.judge_sizes``): nothing is resized here.

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
    (matched, local_ssim), (floor, _), *raw = _measure(pairs, lpips)
    return PairScores(
        matched=matched,
        raw=raw[0][0] if raw else matched,
        codec_floor=floor,
        matched_image=matched_image,
        maps={
            "difference": maps.difference_map(shown, matched_image),
            "ssim": maps.SSIM.paint(local_ssim),
            "lpips": maps.LPIPS.paint(lpips.map(shown, matched_image)),
        },
    )


def score_images(a: Pixels, b: Pixels, lpips: Lpips) -> Scores:
    """Score two H×W×3 images, 0 to 255, as they are.

    Raises:
        ValueError: the shapes differ, are not H×W×3, or an edge is under 31 pixels.
    """
    ((scores, _),) = _measure([(a, b)], lpips)
    return scores


def _measure(pairs: list[tuple[Pixels, Pixels]], lpips: Lpips) -> list[tuple[Scores, NDArray[np.float64]]]:
    """Return scores and SSIM map of every pair; SSIM is computed beside LPIPS, on another core."""
    with ThreadPoolExecutor(1) as beside:
        similar = [beside.submit(ssim, a, b) for a, b in pairs]
        apart = [lpips.score(a, b) for a, b in pairs]
    found = []
    for (a, b), future, distance in zip(pairs, similar, apart, strict=True):
        similarity, local = future.result()
        scores = Scores(ssim=similarity, lpips=distance, psnr=psnr(a, b), pixels=pixel_stats(a, b))
        found.append((scores, local))
    return found
