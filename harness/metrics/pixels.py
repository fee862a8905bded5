"""Plain pixel arithmetic: differences, the worst tile, PSNR."""

from __future__ import annotations

import numpy as np

from harness.metrics.images import Pixels, check_pair
from harness.metrics.scores import PixelStats, Tile

TILE = 64
"""Edge of a tile, pixels."""


def pixel_stats(a: Pixels, b: Pixels) -> PixelStats:
    """Return how two H×W×3 images, 0 to 255, differ pixel by pixel.

    Raises:
        ValueError: the shapes differ or are not H×W×3.
    """
    difference = abs_difference(a, b)
    largest = int(difference.max())
    return PixelStats(
        identical=largest == 0,
        max_abs=largest,
        mean_abs=float(difference.mean()),
        changed=float((difference > 0).any(axis=-1).mean()),
        worst_tile=_worst_tile(difference),
    )


def psnr(a: Pixels, b: Pixels) -> float | None:
    """Return the peak signal-to-noise ratio of two H×W×3 images, dB; None where they are equal (infinite).

    Raises:
        ValueError: the shapes differ or are not H×W×3.
    """
    from skimage.metrics import peak_signal_noise_ratio

    check_pair(a, b)
    return None if np.array_equal(a, b) else float(peak_signal_noise_ratio(a, b, data_range=255))


def abs_difference(a: Pixels, b: Pixels) -> Pixels:
    """Return ``|a - b|``, H×W×3, 0 to 255.

    Raises:
        ValueError: the shapes differ or are not H×W×3.
    """
    check_pair(a, b)
    return np.maximum(a, b) - np.minimum(a, b)


def _worst_tile(difference: Pixels) -> Tile:
    """Return the tile of the 64-pixel grid with the largest mean; the first in reading order among equals."""
    height, width, _ = difference.shape
    tiles = (
        Tile(x=x, y=y, size=TILE, mean_abs=float(difference[y : y + TILE, x : x + TILE].mean()))
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    )
    return max(tiles, key=lambda tile: tile.mean_abs)
