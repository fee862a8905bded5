"""SSIMULACRA2 (Sneyers 2023) as libjxl computes it: 100 is equal, 70 is high quality, 0 and less is poor.

The package ``ssimulacra2`` gives the colour space, the weights and the last polynomial. Its own loop is not
used: it blurs one axis of a picture with another border than libjxl and leaves out the last scale of pictures
under 256 pixels, which moves a score by up to 17 points (``findings/ssimulacra2_transposed.sh``).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from harness.metrics.images import Pixels, check_pair

Planes = NDArray[np.float32]
"""Three planes, 3×H×W."""

MIN_SIZE = 8
"""A smaller scale is the last one, pixels."""

_SIGMA = 1.5


def ssimulacra2(a: Pixels, b: Pixels) -> float:
    """Return the score of ``b`` against the original ``a``, both H×W×3, 0 to 255: 100 is equal.

    Raises:
        ImportError: the package is not installed.
        ValueError: the shapes differ or are not H×W×3.
    """
    from ssimulacra2.ssimulacra2 import Msssim, MsssimScale, kNumScales

    check_pair(a, b)
    found = Msssim()
    planes = [_linear(image) for image in (a, b)]
    for _ in range(kNumScales):
        scale = MsssimScale()
        scale.avg_ssim, scale.avg_edgediff = _compare(*(_xyb(each) for each in planes))
        found.scales.append(scale)
        if min(planes[0].shape[1:]) < MIN_SIZE:
            break
        planes = [_halved(each) for each in planes]
    return float(found.score())


def _compare(a: Planes, b: Planes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and 4-norm of the SSIM map, plane by plane, and those of new and of lost edges."""
    from ssimulacra2.ssimulacra2 import kC2

    mean_a, mean_b = _blurred(a), _blurred(b)
    both = mean_a * mean_b
    squares = mean_a * mean_a + mean_b * mean_b
    structure = (2 * (_blurred(a * b) - both) + kC2) / (_blurred(a * a + b * b) - squares + kC2)
    ssim = np.maximum(1 - (1 - (mean_a - mean_b) ** 2) * structure, 0)
    edges = (1 + np.abs(b - mean_b)) / (1 + np.abs(a - mean_a)) - 1
    new, lost = np.maximum(edges, 0), np.maximum(-edges, 0)
    by_plane = np.stack([_pooled(new).reshape(3, 2), _pooled(lost).reshape(3, 2)], axis=1)
    return _pooled(ssim), by_plane.ravel()


def _pooled(local: Planes) -> NDArray[np.float64]:
    """Return the mean and the 4-norm of each plane, alternating."""
    fourth = np.square(np.square(local))
    means = local.mean(axis=(1, 2), dtype=np.float64), fourth.mean(axis=(1, 2), dtype=np.float64) ** 0.25
    return np.stack(means, axis=1).ravel()


def _linear(image: Pixels) -> Planes:
    """Return linear light, 0 to 1."""
    return _linear_levels()[image.transpose(2, 0, 1)]


@functools.cache
def _linear_levels() -> NDArray[np.float32]:
    from ssimulacra2.ssimulacra2 import srgb_to_linear

    return np.asarray(srgb_to_linear(np.arange(256.0)), dtype=np.float32)


def _xyb(linear: Planes) -> Planes:
    """Return the planes X, Y and B − Y, moved to be positive."""
    from ssimulacra2.ssimulacra2 import kB0, kOpsinAbsorbanceMatrix

    matrix = kOpsinAbsorbanceMatrix.reshape(3, 3).astype(np.float32)
    mixed = np.tensordot(matrix, linear, axes=1) + np.float32(kB0)
    long, middle, short = _cube_root(np.maximum(mixed, 0)) - np.float32(np.cbrt(kB0))
    x, y = (long - middle) / 2, (long + middle) / 2
    return np.stack([14 * x + np.float32(0.42), y + np.float32(0.01), short - y + np.float32(0.55)])


def _cube_root(values: Planes) -> Planes:
    """Return what ``numpy.cbrt`` does but for the last bit, in a fifth of its time."""
    import torch

    root: Planes = torch.from_numpy(values).pow_(1 / 3).numpy()
    return root


def _halved(planes: Planes) -> Planes:
    """Return means of 2×2 pixels; an odd edge is repeated."""
    _, height, width = planes.shape
    even = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    halved: Planes = even.reshape(3, even.shape[1] // 2, 2, even.shape[2] // 2, 2).mean(axis=(2, 4))
    return halved


def _blurred(planes: Planes) -> Planes:
    from scipy.ndimage import correlate1d

    rows = correlate1d(planes, _kernel(), axis=2, mode="constant")
    blurred: Planes = correlate1d(rows, _kernel(), axis=1, mode="constant")
    return blurred


@functools.cache
def _kernel() -> NDArray[np.float64]:
    """Return the impulse response of libjxl's recursive Gaussian: three cosines (Charalampidis 2016)."""
    radius = round(3.2795 * _SIGMA + 0.2546)
    omega = np.array([1, 3, 5]) * np.pi / (2 * radius)
    p = np.array([1, -1, 1]) / np.tan(omega / 2)
    r = np.array([1, -1, 1]) * p**2 / np.sin(omega)
    rho = np.exp(-((_SIGMA * omega) ** 2) / 2) / radius
    zeta = np.cross(p, r)[[0, 1]] / np.cross(p, r)[2]
    constraints = np.array([p, r, [*zeta, 1]])
    beta = np.linalg.solve(constraints, [1, radius**2 - _SIGMA**2, zeta @ rho[:2] + rho[2]])
    taps = np.arange(1 - radius, radius)
    kernel: NDArray[np.float64] = beta @ np.cos(np.outer(omega, taps))
    return kernel
