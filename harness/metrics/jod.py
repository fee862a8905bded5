"""ColorVideoVDP (Mantiuk et al. 2024) by its own package, as a still image, with one blur done faster."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics.images import Pixels, check_pair
from harness.metrics.threads import one_thread

if TYPE_CHECKING:
    from pycvvdp import cvvdp
    from torch import Tensor

DISPLAY = "standard_4k"
"""ColorVideoVDP's own default: 30 inches, 3840×2160, 200 cd/m², office light."""


def jod(a: Pixels, b: Pixels) -> float:
    """Return ColorVideoVDP's quality of ``b`` as a still image against ``a``, both H×W×3, 0 to 255.

    Returns:
        Just-objectionable differences: 10 is equal; at 9, three of four people prefer ``a``.

    Raises:
        ImportError: the package is not installed.
        ValueError: the shapes differ or are not H×W×3.
    """
    import torch

    check_pair(a, b)
    with one_thread(), torch.inference_mode():
        quality, _ = _cvvdp().predict(b, a, dim_order="HWC")
    return float(quality)


@functools.cache
def _cvvdp() -> cvvdp:
    import torch
    from pycvvdp import cvvdp

    metric = cvvdp(display_name=DISPLAY, device=torch.device("cpu"), quiet=True)
    blur = metric.pu_blur
    metric.pu_blur = _SeparableBlur(blur.kernel_size[0], blur.sigma[0])
    return metric


class _SeparableBlur:
    """The Gaussian of torchvision's ``GaussianBlur``, one axis after the other: a quarter of its time."""

    def __init__(self, size: int, sigma: float) -> None:
        weights = np.exp(-0.5 * (np.arange(size) - size // 2) ** 2 / sigma**2)
        self._weights = weights / weights.sum()

    def forward(self, planes: Tensor) -> Tensor:
        """Return planes of any number, …×H×W, blurred; at the edges they are mirrored."""
        import torch
        from scipy.ndimage import correlate1d

        rows = correlate1d(planes.numpy(), self._weights, axis=-1, mode="mirror")
        return torch.from_numpy(correlate1d(rows, self._weights, axis=-2, mode="mirror"))
