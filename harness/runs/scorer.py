"""Score the images of a run folder, and keep the maps beside them; used by a run and by a re-score."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb, save_png
from harness.metrics.lpips import Lpips
from harness.metrics.perceptual import choose_metrics
from harness.metrics.score_pair import score_images, score_pair
from harness.metrics.scores import MetricName, Scores
from harness.schema.result import Images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PairScores:
    """Scores of one row, and where its images lie."""

    matched: Scores
    raw: Scores
    codec_floor: Scores
    images: Images


@dataclass(frozen=True)
class ScoringJob:
    """A rendered image to keep and, where it has the preview's size, to score.

    Attributes:
        images: where preview and re-run lie, relative to ``run``; the preview is there already.
        image: uint8, H×W×3.
    """

    run: Path
    images: Images
    image: NDArray[np.uint8]
    comparable: bool


@dataclass(frozen=True)
class ScoringResult:
    """What became of a rendered image: kept, hashed, and scored where it could be."""

    images: Images
    image_sha256: str
    scored: PairScores | None
    seconds: float
    warnings: tuple[str, ...] = ()


class Scorer:
    """Scores pairs of images with one loaded LPIPS network.

    Args:
        weights: another file of AlexNet layers than the shipped one.
        metrics: what to measure beside SSIM, LPIPS and PSNR, where its package is installed.

    Raises:
        WeightsError: the weights are missing or not what they should be.
    """

    def __init__(
        self, weights: str | os.PathLike[str] | None = None, metrics: Collection[MetricName] = ()
    ) -> None:
        self._lpips = Lpips(weights)
        self.metrics = choose_metrics(metrics)

    def run(self, job: ScoringJob) -> ScoringResult:
        """Write the re-run as a lossless image, hash it, and score it."""
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as writer:
            written = writer.submit(save_png, job.run / str(job.images.rerun), job.image)
            scored = self._score(job.run, job.images, job.image) if job.comparable else None
            written.result()
        return ScoringResult(
            images=scored.images if scored else job.images,
            image_sha256=pixels_sha256(job.image),
            scored=scored,
            seconds=round(time.perf_counter() - started, 4),
            warnings=self.metrics.absent if scored else (),
        )

    def score(self, run: Path, images: Images) -> PairScores:
        """Score ``images.rerun`` against ``images.preview``; both are paths relative to ``run``."""
        if images.rerun is None:
            raise ValueError("a row without a re-run has no scores")
        return self._score(run, images, load_rgb(run / images.rerun))

    def _score(self, run: Path, images: Images, rerun: NDArray[np.uint8]) -> PairScores:
        """Score a re-run whose place is ``images.rerun``."""
        pair = score_pair(run / images.preview, rerun, self._lpips, self.metrics)
        files = {name: (run / str(images.rerun)).with_name(f"{name}.png") for name in pair.maps}
        with ThreadPoolExecutor() as threads:
            list(threads.map(save_png, files.values(), pair.maps.values()))
        maps = {name: file.relative_to(run).as_posix() for name, file in files.items()}
        return PairScores(pair.matched, pair.raw, pair.codec_floor, images.model_copy(update={"maps": maps}))

    def score_copy(self, run: Path, images: Images) -> Scores:
        """Score a copy of ``images.rerun`` that went through the preview's codec before, codec-matched."""
        preview = run / images.preview
        codec = Codec.of(preview)
        copy = codec.apply(load_rgb(run / str(images.rerun)))
        return score_images(load_rgb(preview), codec.apply(copy), self._lpips, self.metrics)

    def score_reruns(self, run: Path, one: Images, other: Images) -> Scores:
        """Score two re-runs of one preview against each other, as the preview's codec leaves them."""
        codec = Codec.of(run / one.preview)
        first, second = (codec.apply(load_rgb(run / str(images.rerun))) for images in (one, other))
        return score_images(first, second, self._lpips)


def pixels_sha256(image: NDArray[np.uint8]) -> str:
    """Hash size and pixels of a uint8 H×W×3 image; how its file was compressed does not count."""
    height, width, _ = image.shape
    return hashlib.sha256(f"{width}x{height} ".encode() + image.tobytes()).hexdigest()
