"""Why an image of another size cannot be compared: a scaled copy or a cut-out of the picture, or neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.metrics.images import load_rgb

ALIKE = 0.6
"""Correlation of grey pictures above which two show the same; of unrelated ones it is 0.3 at most."""
MAX_EDGE = 256
"""Pixels to which pictures are reduced before one is searched in the other."""

Grey = NDArray[np.float64]


def why_another_size(image: Path, preview: Path) -> str:
    """Say in words how an image of another size relates to the preview.

    Raises:
        ImageError: one of them cannot be read.
    """
    found, own = load_rgb(image), load_rgb(preview)
    sizes = f"the image is {found.shape[1]}×{found.shape[0]} and the preview {own.shape[1]}×{own.shape[0]}"
    scaled = _correlation(_grey(found, (own.shape[1], own.shape[0])), _grey(own))
    same_form = abs(found.shape[1] / found.shape[0] - own.shape[1] / own.shape[0]) < 0.02
    if same_form and scaled >= ALIKE:
        factor = found.shape[1] / own.shape[1]
        return f"{sizes}: it is the picture scaled by {factor:.3g} (correlation {scaled:.2f})"
    if found.shape[0] <= own.shape[0] and found.shape[1] <= own.shape[1]:
        left, top, alike = _place(_grey(found), _grey(own))
        if alike >= ALIKE:
            return f"{sizes}: it is a cut-out of the picture, at x {left}, y {top} (correlation {alike:.2f})"
    if same_form:
        return f"{sizes}: it was rendered at another size, or scaled; no size is ever changed here"
    return f"{sizes}, of another form: it was rendered at another size, or cut"


def _grey(image: NDArray[np.uint8], size: tuple[int, int] | None = None) -> Grey:
    """Return an image's luminance, H×W; of ``size`` (width, height) where one is given."""
    grey = Image.fromarray(image).convert("L")
    if size is not None:
        grey = grey.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(grey, dtype=np.float64)


def _correlation(a: Grey, b: Grey) -> float:
    """Return Pearson's correlation of two images of one size, 0 where one is flat."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def _place(part: Grey, whole: Grey) -> tuple[int, int, float]:
    """Return where ``part`` lies best in ``whole`` (left, top, pixels) and the correlation there.

    The likeliest place is that of the highest correlation by Fourier transform, of pictures reduced to
    ``MAX_EDGE``.
    """
    factor = max(1, -(-max(whole.shape) // MAX_EDGE))
    small, large = part[::factor, ::factor], whole[::factor, ::factor]
    zero = small - small.mean()
    spectrum = np.fft.rfft2(large - large.mean()) * np.conj(np.fft.rfft2(zero, large.shape))
    score = np.fft.irfft2(spectrum, large.shape)
    rows, columns = (large.shape[axis] - small.shape[axis] + 1 for axis in (0, 1))
    top, left = np.unravel_index(int(score[:rows, :columns].argmax()), (rows, columns))
    cut = large[top : top + small.shape[0], left : left + small.shape[1]]
    return int(left) * factor, int(top) * factor, _correlation(small, cut)
