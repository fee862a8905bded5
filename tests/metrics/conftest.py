from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.metrics.lpips import Lpips

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def lpips() -> Lpips:
    return Lpips()


@pytest.fixture(scope="session")
def picture() -> Callable[..., Pixels]:
    """A smooth picture with some noise: JPEG changes it, and no two channels are alike."""

    def make(height: int = 96, width: int = 80, seed: int = 0) -> Pixels:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / 9 + phase) * np.cos(y / 13 - phase) for phase in rng.uniform(0, 6, 3)]
        noisy = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
        return np.clip(noisy, 0, 255).astype(np.uint8)

    return make
