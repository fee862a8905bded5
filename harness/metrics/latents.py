"""Final latents on disk, and how far two of them are apart.

A decoder can make a small change of the latents look large, or hide it. Latents are compared as they are: no
file format stands between two re-runs.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import ImageError
from harness.metrics.scores import LatentDistance

Latents = NDArray[np.float16]
"""Packed latents before decoding, (H/16 · W/16) × 64."""

SUFFIX = ".latents.npy.zz"
MAX_BYTES = 64 << 20
"""More is not unpacked, whatever the file says; a 2048² image has 2 MiB."""


def latent_distance(latents: Latents, accepted: Latents) -> LatentDistance | None:
    """Return the distance of two latents; None where their shapes differ or one is not finite or zero."""
    if latents.shape != accepted.shape:
        return None
    a, b = latents.astype(np.float64).ravel(), accepted.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not np.isfinite(lengths).all() or min(lengths) == 0:
        return None
    difference = float(np.linalg.norm(a - b))
    return LatentDistance(
        cosine=float(a @ b) / (lengths[0] * lengths[1]), relative_l2=difference / lengths[1]
    )


def encode_latents(latents: Latents) -> bytes:
    """Return the bytes of a latents file: a compressed ``.npy``, the same for the same latents."""
    stream = io.BytesIO()
    np.save(stream, latents, allow_pickle=False)
    return zlib.compress(stream.getvalue(), 6)


def read_latents(path: Path) -> Latents:
    """Read a file of ``encode_latents``.

    Raises:
        ImageError: missing, damaged, larger than 64 MiB, or not latents.
    """
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(path.read_bytes(), MAX_BYTES)
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError, zlib.error, MemoryError) as error:
        raise ImageError(f"is no file of latents ({error})", file=path, fix="run the case again") from error
    if not unpacker.eof or not isinstance(array, np.ndarray) or array.dtype != np.float16 or array.ndim != 2:
        raise ImageError("is not a file of fp16 latents", file=path, fix="run the case again")
    return array
