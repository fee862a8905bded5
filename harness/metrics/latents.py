"""Final latents on disk as a sketch of 4 kB, and how far two of them are apart.

A decoder can make a small change of the latents look large, or hide it. Latents are compared as they are: no
file format stands between two re-runs. Their hash tells whether they are equal. For the distance a random
projection is enough, which keeps lengths to about 2 % (count sketch: Charikar, Chen, Farach-Colton 2002).
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import ImageError
from harness.metrics.scores import LatentDistance

Latents = NDArray[np.float16]
"""Packed latents before decoding, (H/16 · W/16) × 64."""

SUFFIX = ".latents.npy.zz"
MAX_BYTES = 64 << 20
"""More is not unpacked, whatever the file says; an older file holds all latents, 2 MiB at 2048²."""

BUCKETS = 1024
"""Sums in a sketch; in two of three cases a distance is within √(1 / (2 · BUCKETS)), which is 2.2 %."""


@dataclass(frozen=True)
class Sketch:
    """A random projection of latents.

    Attributes:
        shape: of the latents.
        length: of the latents as one vector, exact.
        sums: ``BUCKETS`` sums of values with random signs.
    """

    shape: tuple[int, int]
    length: float
    sums: NDArray[np.float32]


def sketch(latents: Latents) -> Sketch:
    """Return the sketch of latents; the same latents have the same one everywhere."""
    values = latents.astype(np.float64).ravel()
    places = _mixed(values.size)
    signs = np.where(places & 1, 1.0, -1.0)
    sums = np.bincount((places >> 1) % BUCKETS, values * signs, BUCKETS).astype(np.float32)
    rows, columns = latents.shape
    return Sketch((rows, columns), float(np.float32(np.linalg.norm(values))), sums)


def latent_distance(latents: Sketch, accepted: Sketch) -> LatentDistance | None:
    """Return the distance of two latents; None where their shapes differ or one is not finite or zero."""
    lengths = latents.length, accepted.length
    if latents.shape != accepted.shape or not np.isfinite(lengths).all() or min(lengths) == 0:
        return None
    difference = float(np.linalg.norm(latents.sums.astype(np.float64) - accepted.sums))
    if not np.isfinite(difference):
        return None
    cosine = (lengths[0] ** 2 + lengths[1] ** 2 - difference**2) / (2 * lengths[0] * lengths[1])
    return LatentDistance(cosine=max(-1.0, min(1.0, cosine)), relative_l2=difference / lengths[1])


def encode_latents(latents: Latents) -> bytes:
    """Return the bytes of a latents file: a compressed ``.npy`` of shape, length and sums of the sketch."""
    found, stream = sketch(latents), io.BytesIO()
    np.save(stream, np.array([*found.shape, found.length, *found.sums], np.float32), allow_pickle=False)
    return zlib.compress(stream.getvalue(), 6)


def read_latents(path: Path) -> Sketch:
    """Read a file of ``encode_latents``, or an older one that holds all latents.

    Raises:
        ImageError: missing, damaged, larger than 64 MiB, or not latents.
    """
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(path.read_bytes(), MAX_BYTES)
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError, zlib.error, MemoryError) as error:
        raise ImageError(f"is no file of latents ({error})", file=path, fix="run the case again") from error
    if unpacker.eof and isinstance(array, np.ndarray):
        if array.dtype == np.float16 and array.ndim == 2:
            return sketch(array)
        if array.dtype == np.float32 and array.shape == (3 + BUCKETS,) and np.isfinite(array[:2]).all():
            return Sketch((int(array[0]), int(array[1])), float(array[2]), array[3:])
    raise ImageError("is not a file of latents", file=path, fix="run the case again")


def _mixed(count: int) -> NDArray[np.int64]:
    """Return well mixed numbers for 0 to ``count`` − 1: splitmix64 (Steele, Lea, Flood 2014), upper half."""
    state = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (state >> np.uint64(33)).astype(np.int64)
