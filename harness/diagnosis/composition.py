"""Is the re-run another picture, or the same picture drawn differently?

The statistic is the correlation of two images after averaging over a coarse grid: it shows the
composition and ignores detail, codec and rounding. docs/diagnosis.md says what it measured.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Composition = Literal["same", "different"]
CELLS = 16
"""Cells along the shorter edge."""
SAME_FROM = 0.93
"""Correlation from which two images count as one composition."""


def correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the Pearson correlation, -1 to 1, of two H×W×3 images averaged over square cells.

    Each channel is centred by its own mean; two flat images correlate fully.

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    x, y = _coarse(a), _coarse(b)
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 0 else float(np.array_equal(x, y))


def compare(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Composition:
    """Return whether two H×W×3 images show one composition; images of two sizes do not."""
    if a.shape != b.shape:
        return "different"
    return "same" if correlation(a, b) >= SAME_FROM else "different"


def _coarse(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width, _ = image.shape
    cell = max(1, min(height, width) // CELLS)
    rows, columns = height // cell, width // cell
    cut = image[: rows * cell, : columns * cell].astype(np.float64)
    means = cut.reshape(rows, cell, columns, cell, 3).mean(axis=(1, 3))
    centred: NDArray[np.float64] = means - means.mean(axis=(0, 1))
    return centred
