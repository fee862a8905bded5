"""Score the images of a run folder, and keep the maps beside them; used by a run and by a re-score."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb, save_png
from harness.metrics.lpips import Lpips
from harness.metrics.score_pair import score_images, score_pair
from harness.metrics.scores import Scores
from harness.schema.result import Images


@dataclass(frozen=True)
class Scored:
    """Scores of one row, and where its images lie."""

    matched: Scores
    raw: Scores
    codec_floor: Scores
    images: Images


@dataclass(frozen=True)
class Finished:
    """A rendered image to keep and, where it has the preview's size, to score.

    Attributes:
        images: where preview and re-run lie, relative to ``run``; the preview is there already.
        image: uint8, H×W×3.
    """

    run: Path
    images: Images
    image: Any
    comparable: bool


@dataclass(frozen=True)
class Evidence:
    """What became of a rendered image: kept, hashed, and scored where it could be."""

    images: Images
    image_sha256: str
    scored: Scored | None
    seconds: float


class Scorer:
    """Scores pairs of images with one loaded LPIPS network.

    Args:
        weights: another file of AlexNet layers than the shipped one.

    Raises:
        WeightsError: the weights are missing or not what they should be.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._lpips = Lpips(weights)

    def gather(self, finished: Finished) -> Evidence:
        """Write the re-run as a lossless image, hash it, and score it."""
        started = time.perf_counter()
        save_png(finished.run / str(finished.images.rerun), finished.image)
        scored = self.score(finished.run, finished.images) if finished.comparable else None
        return Evidence(
            images=scored.images if scored else finished.images,
            image_sha256=pixels_sha256(finished.image),
            scored=scored,
            seconds=round(time.perf_counter() - started, 4),
        )

    def score(self, run: Path, images: Images) -> Scored:
        """Score ``images.rerun`` against ``images.preview``; both are paths relative to ``run``."""
        if images.rerun is None:
            raise ValueError("a row without a re-run has no scores")
        rerun = run / images.rerun
        pair = score_pair(run / images.preview, load_rgb(rerun), self._lpips)
        maps = {}
        for name, picture in pair.maps.items():
            save_png(rerun.with_name(f"{name}.png"), picture)
            maps[name] = rerun.with_name(f"{name}.png").relative_to(run).as_posix()
        return Scored(pair.matched, pair.raw, pair.codec_floor, images.model_copy(update={"maps": maps}))

    def score_copy(self, run: Path, images: Images) -> Scores:
        """Score a copy of ``images.rerun`` that went through the preview's codec before, codec-matched."""
        preview = run / images.preview
        codec = Codec.of(preview)
        copy = codec.apply(load_rgb(run / str(images.rerun)))
        return score_images(load_rgb(preview), codec.apply(copy), self._lpips)


def pixels_sha256(image: Any) -> str:
    """Hash size and pixels, so that the same picture has the same hash however its file was compressed."""
    height, width, _ = image.shape
    return hashlib.sha256(f"{width}x{height} ".encode() + image.tobytes()).hexdigest()
