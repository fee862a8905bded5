"""SSIMULACRA2 against scores of libjxl's own program (``ssimulacra2``, libjxl main of January 2026)."""

from __future__ import annotations

import numpy as np
import pytest

from harness.metrics.images import Pixels
from harness.metrics.ssimulacra2 import ssimulacra2

pytest.importorskip("ssimulacra2")


def flat(level: int, size: int) -> Pixels:
    return np.full((size, size, 3), level, np.uint8)


def ramp() -> Pixels:
    levels = (np.arange(64) * 255 // 63).astype(np.uint8)
    return np.broadcast_to(levels[None, :, None], (64, 64, 3)).copy()


def edge() -> Pixels:
    return np.broadcast_to(np.where(np.arange(64) < 32, 0, 255)[None, :, None], (64, 64, 3)).astype(np.uint8)


def noise(seed: int) -> Pixels:
    """Bytes of a linear congruential generator (Knuth's MMIX), from bit 33."""
    state, found = seed, []
    for _ in range(64 * 64 * 3):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(state >> 33 & 255)
    return np.array(found, np.uint8).reshape(64, 64, 3)


def box_blurred(image: Pixels) -> Pixels:
    """Mean of 8×8 pixels, from 4 before to 3 after; edges are repeated."""
    padded = np.pad(image.astype(int), ((4, 3), (4, 3), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(0, 1))
    return (windows.sum(axis=(-2, -1)) // 64).astype(np.uint8)


@pytest.mark.parametrize(
    ("original", "distorted", "libjxl"),
    [
        (flat(128, 64), flat(138, 64), 80.243),
        (flat(128, 64), flat(148, 64), 56.059),
        (flat(128, 64), flat(178, 64), -8.759),
        (flat(128, 128), flat(138, 128), 77.843),
        (flat(128, 128), flat(148, 128), 54.279),
        (flat(128, 256), flat(148, 256), 59.779),
        (flat(128, 256), flat(178, 256), -0.391),
        (ramp(), flat(128, 64), -64.569),
        (ramp(), box_blurred(ramp()), 94.341),
        (edge(), box_blurred(edge()), 24.273),
        (noise(42), flat(128, 64), -47.336),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else f"{value:g}",
)
def test_it_is_libjxls(original: Pixels, distorted: Pixels, libjxl: float) -> None:
    """The package's own program is up to 17 points away on these."""
    assert ssimulacra2(original, distorted) == pytest.approx(libjxl, abs=0.3)


def test_equal_is_100_and_a_turned_pair_scores_the_same() -> None:
    image = noise(7)[:40]
    blurred = box_blurred(image)
    assert ssimulacra2(image, image) == 100
    turned = (each.transpose(1, 0, 2).copy() for each in (image, blurred))
    assert ssimulacra2(*turned) == pytest.approx(ssimulacra2(image, blurred), abs=1e-3)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="of one size"):
        ssimulacra2(flat(1, 32), flat(1, 64))
