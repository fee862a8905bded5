"""Drift as pictures, on fixed scales, so that one colour means one number in every report.

| map | dark end | bright end |
|---|---|---|
| difference: largest ``|a - b|`` of a pixel's channels | 0 | 64 and more |
| SSIM, local | 1 | 0 and less |
| LPIPS, local | 0 | 1 and more |

Dark is always "equal". The colours run from black over violet and orange to pale yellow, lightness rising all
the way, so that order reads in grey and to colour-blind eyes too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.metrics.images import Pixels
from harness.metrics.pixels import abs_difference

ANCHORS = (
    (0, 0, 4),
    (48, 18, 94),
    (126, 36, 110),
    (200, 66, 70),
    (244, 136, 30),
    (250, 204, 74),
    (252, 252, 196),
)
"""Colours at equal distances along a scale, dark to bright, RGB, 0 to 255: a legend's gradient."""


@dataclass(frozen=True)
class Scale:
    """What a map's colours mean.

    Attributes:
        label: what is shown, with its unit.
        dark: the value drawn darkest; the equal end.
        bright: the value drawn brightest; values beyond it look the same.
    """

    label: str
    dark: float
    bright: float

    def paint(self, values: NDArray[np.floating]) -> Pixels:
        """Return H×W values as an H×W×3 image, 0 to 255.

        Raises:
            ValueError: a value is not a number.
        """
        if np.isnan(values).any():
            raise ValueError(f"{self.label}: not a number cannot be drawn")
        place = np.clip((values - self.dark) / (self.bright - self.dark), 0, 1)
        painted: Pixels = _COLOURS[np.rint(place * 255).astype(np.intp)]
        return painted


DIFFERENCE = Scale("largest difference of a channel, of 255", 0, 64)
SSIM = Scale("local SSIM", 1, 0)
LPIPS = Scale("local LPIPS", 0, 1)

SCALES = {"difference": DIFFERENCE, "ssim": SSIM, "lpips": LPIPS}
"""The scale of each map by name, for a legend."""


def difference_map(a: Pixels, b: Pixels) -> Pixels:
    """Return ``|a - b|`` of two H×W×3 images, largest of the channels, painted on ``DIFFERENCE``.

    Raises:
        ValueError: the shapes differ or are not H×W×3.
    """
    return DIFFERENCE.paint(abs_difference(a, b).max(axis=-1).astype(np.float32))


def _lookup() -> Pixels:
    """Return 256×3 colours, linear between the anchors."""
    anchors = np.asarray(ANCHORS, dtype=np.float64)
    at = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), at, anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


_COLOURS = _lookup()
