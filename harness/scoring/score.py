"""All scores of one re-run against its preview: codec-matched, raw, and what the codec alone does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.scoring import maps
from harness.scoring.codec import Codec
from harness.scoring.images import check_pair, load_rgb
from harness.scoring.pixels import pixel_stats, psnr
from harness.scoring.scores import Scores
from harness.scoring.ssim import ssim

if TYPE_CHECKING:
    from harness.scoring.perceptual import Lpips

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PairScores:
    """A re-run against its preview.

    Attributes:
        matched: preview against the re-run after the preview's own codec: what the verdict is made from.
        raw: preview against the re-run as rendered.
        codec_floor: the re-run after the codec against the re-run as rendered: the part that is no drift.
        codec: how the preview was encoded.
        matched_image: the re-run after the codec, H×W×3, 0 to 255.
        maps: of the matched pair, H×W×3 each: ``difference``, ``ssim``, ``lpips``; their scales are
            ``harness.scoring.maps.SCALES``.
    """

    matched: Scores
    raw: Scores
    codec_floor: Scores
    codec: Codec
    matched_image: Pixels
    maps: dict[str, Pixels]


def score_pair(preview: Path, rerun: Pixels, lpips: Lpips) -> PairScores:
    """Score a re-run, H×W×3, 0 to 255, against a preview file of the same size.

    Sizes are the caller's to compare first (``judge.judge_sizes``): nothing is resized here.

    Raises:
        ImageError: the preview cannot be read.
        ValueError: the re-run has another size than the preview.
    """
    shown = load_rgb(preview)
    check_pair(shown, rerun)
    codec = Codec.of(preview)
    matched_image = codec.apply(rerun)
    matched, local_ssim = _measure(shown, matched_image, lpips)
    return PairScores(
        matched=matched,
        raw=matched if codec.lossless else _measure(shown, rerun, lpips)[0],
        codec_floor=_measure(matched_image, rerun, lpips)[0],
        codec=codec,
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
    return _measure(a, b, lpips)[0]


def _measure(a: Pixels, b: Pixels, lpips: Lpips) -> tuple[Scores, NDArray[np.float64]]:
    similarity, local = ssim(a, b)
    scores = Scores(ssim=similarity, lpips=lpips.score(a, b), psnr=psnr(a, b), pixels=pixel_stats(a, b))
    return scores, local
