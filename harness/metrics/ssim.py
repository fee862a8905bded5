"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004), as scikit-image computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.metrics.images import Pixels, check_pair

WINDOW = 11
"""Edge of the Gaussian window, pixels: the smallest image that can be scored."""


def ssim(a: Pixels, b: Pixels) -> tuple[float, NDArray[np.float64]]:
    """Return SSIM and its map for two H×W×3 images, 0 to 255.

    Gaussian weights with σ = 1.5 and population covariance, as in the paper; data range 255; each channel
    apart, then averaged.

    Returns:
        The mean over the image (without the border of 5 pixels), and the H×W map averaged over channels;
        both -1 to 1, 1 is equal.

    Raises:
        ValueError: the shapes differ, are not H×W×3, or an edge is under 11 pixels.
    """
    from skimage.metrics import structural_similarity

    check_pair(a, b)
    score, local = structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
        full=True,
    )
    return float(score), np.asarray(local, dtype=np.float64).mean(axis=-1)
