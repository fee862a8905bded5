from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.pixels import pixel_stats, psnr


@given(st.integers(0, 149), st.integers(0, 199))
def test_the_worst_tile_is_where_the_defect_is(y, x):
    a = np.full((150, 200, 3), 100, np.uint8)
    b = a.copy()
    b[y, x] = (110, 100, 40)
    stats = pixel_stats(a, b)
    assert (stats.worst_tile.x, stats.worst_tile.y) == (x // 64 * 64, y // 64 * 64)
    assert stats.worst_tile.size == 64
    assert stats.max_abs == 60
    assert stats.changed == pytest.approx(1 / (150 * 200))
    assert stats.mean_abs == pytest.approx(70 / (150 * 200 * 3))
    assert not stats.identical


def test_a_small_edge_tile_is_judged_by_its_own_mean():
    a = np.zeros((64, 72, 3), np.uint8)
    b = a.copy()
    b[:, :64] = 10
    b[:, 64:] = 11
    assert pixel_stats(a, b).worst_tile.model_dump() == {"x": 64, "y": 0, "size": 64, "mean_abs": 11}


def test_differences_do_not_wrap_around():
    a, b = np.full((4, 4, 3), 250, np.uint8), np.full((4, 4, 3), 5, np.uint8)
    assert pixel_stats(a, b) == pixel_stats(b, a)
    assert pixel_stats(a, b).mean_abs == 245


def test_equal_images(picture):
    stats = pixel_stats(picture(), picture())
    assert (stats.identical, stats.max_abs, stats.mean_abs, stats.changed) == (True, 0, 0, 0)
    assert psnr(picture(), picture()) is None


def test_psnr_by_hand():
    a = np.zeros((8, 8, 3), np.uint8)
    assert psnr(a, a + 5) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(a, a + 255) == pytest.approx(0)


def test_sizes_that_differ_are_refused(picture):
    for measure in (pixel_stats, psnr):
        with pytest.raises(ValueError, match="one size"):
            measure(picture(), picture(height=64))
