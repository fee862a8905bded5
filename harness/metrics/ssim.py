"""SSIM (Wang, Bovik, Sheikh, Simoncelli 2004), the same numbers as scikit-image's to rounding.

Its ``structural_similarity`` takes one pair. Three pairs of three images share six of the fifteen blurs that
they would take one by one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from harness.metrics.images import Pixels, check_pair

WINDOW = 11
"""Edge of the Gaussian window, pixels: the smallest image that can be scored."""

_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Plane = NDArray[np.float64]
"""One channel, H×W."""


def ssim(a: Pixels, b: Pixels) -> tuple[float, Plane]:
    """Return SSIM and its map for two H×W×3 images, 0 to 255.

    Gaussian weights with σ = 1.5 and population covariance, as in the paper; data range 255; each channel
    apart, then averaged.

    Returns:
        The mean over the image (without the border of 5 pixels), and the H×W map averaged over channels;
        both -1 to 1, 1 is equal.

    Raises:
        ValueError: the shapes differ, are not H×W×3, or an edge is under 11 pixels.
    """
    ((score, local),) = averaged(ssim_of_channel([(a, b)], channel) for channel in range(3))
    return score, local


def ssim_of_channel(pairs: list[tuple[Pixels, Pixels]], channel: int) -> list[tuple[float, Plane]]:
    """Return what ``ssim`` does of one channel, for each pair; what pairs have in common is computed once.

    Raises:
        ValueError: as ``ssim``.
    """
    for a, b in pairs:
        check_pair(a, b)
        if min(a.shape[:2]) < WINDOW:
            raise ValueError(f"SSIM needs at least {WINDOW} pixels an edge, found {a.shape[1]}×{a.shape[0]}")
    planes = {id(image): image[..., channel].astype(np.float64) for pair in pairs for image in pair}
    means = {key: _blurred(plane) for key, plane in planes.items()}
    variances = {key: _blurred(plane * plane) - means[key] ** 2 for key, plane in planes.items()}
    found = []
    for one, other in ((id(a), id(b)) for a, b in pairs):
        both = means[one] * means[other]
        covariance = _blurred(planes[one] * planes[other]) - both
        local = (2 * both + _C1) * (2 * covariance + _C2)
        local /= (means[one] ** 2 + means[other] ** 2 + _C1) * (variances[one] + variances[other] + _C2)
        edge = WINDOW // 2
        found.append((float(local[edge:-edge, edge:-edge].mean()), local))
    return found


def averaged(channels: Iterable[list[tuple[float, Plane]]]) -> list[tuple[float, Plane]]:
    """Return scores and maps of pairs, averaged over the channels."""
    return [
        (float(np.mean([score for score, _ in pair])), np.mean([local for _, local in pair], axis=0))
        for pair in zip(*channels, strict=True)
    ]


def _blurred(plane: Plane) -> Plane:
    from scipy.ndimage import gaussian_filter

    blurred: Plane = gaussian_filter(plane, _SIGMA, radius=WINDOW // 2)
    return blurred
