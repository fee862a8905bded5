"""Score the images of a run folder, and keep the maps beside them; used by a run and by a re-score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.runs.row import Images
from harness.scoring.images import load_rgb, save_png
from harness.scoring.perceptual import Lpips
from harness.scoring.score import score_pair
from harness.scoring.scores import Scores


@dataclass(frozen=True)
class Scored:
    """Scores of one row, and where its images lie."""

    matched: Scores
    raw: Scores
    codec_floor: Scores
    images: Images


class Scorer:
    """Scores pairs of images with one loaded LPIPS network.

    Args:
        weights: another file of AlexNet layers than the shipped one.

    Raises:
        WeightsError: the weights are missing or not what they should be.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._lpips = Lpips(weights)

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
