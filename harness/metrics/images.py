"""Reading previews and re-runs as arrays, and writing arrays without loss."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness._util.atomic_files import write_bytes
from harness.metrics.image_file import read_image

Image.preinit()  # its plugins, before two threads import them at once by saving pictures

Pixels = NDArray[np.uint8]
"""An RGB image, H×W×3, 0 to 255."""

MAX_FLAT = 2
"""Levels of 255 within which every pixel of a flat picture lies, channel by channel."""

COMPRESS_LEVEL = 2
"""Of zlib's 9: a quarter of the time of its default, 6, for files 9 to 20 % larger."""


def load_rgb(path: Path) -> Pixels:
    """Read an RGB image as AI Toolkit writes it: jpg, png or webp, one frame, 8 bits a channel, not turned.

    Raises:
        ImageError: missing, unreadable, truncated, animated, above 64 megapixels or 256 MiB, of another mode,
            with 16 bits a channel, with a transparent colour, or turned by EXIF.
    """
    return np.array(read_image(path), dtype=np.uint8)


def is_flat(array: Pixels) -> bool:
    """Say whether an H×W×3 image, 0 to 255, is one colour: what NaN weights or a failed decode make."""
    return bool(np.ptp(array.reshape(-1, 3), axis=0).max() <= MAX_FLAT)


def save_png(path: Path, array: Pixels) -> None:
    """Write an H×W×3 or H×W array, 0 to 255, as a PNG: lossless, and whole or not at all."""
    write_bytes(path, encode(Image.fromarray(array), "PNG", compress_level=COMPRESS_LEVEL))


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the bytes that Pillow saves for ``image``; ``options`` are those of ``Image.save``."""
    stream = io.BytesIO()
    image.save(stream, format=image_format, **options)
    return stream.getvalue()


def check_pair(a: Pixels, b: Pixels) -> None:
    """Precondition of every comparison: two H×W×3 arrays of one size; nothing is ever resized.

    Raises:
        ValueError: the shapes differ or are not H×W×3.
    """
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"images must both be H×W×3 and of one size, found shapes {a.shape} and {b.shape}")
