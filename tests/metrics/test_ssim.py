from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from harness.metrics.ssim import averaged, ssim, ssim_of_channel


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(11, 40), st.integers(11, 40))
def test_equals_scikit_image_channel_by_channel(seed, height, width):
    a, b = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    score, local = ssim(a, b)
    apart = [
        structural_similarity(
            a[..., c],
            b[..., c],
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            full=True,
        )
        for c in range(3)
    ]
    assert score == pytest.approx(np.mean([value for value, _ in apart]), abs=1e-12)
    assert local == pytest.approx(np.mean([values for _, values in apart], axis=0), abs=1e-12)


def test_pairs_that_share_images_have_the_bits_of_one_alone(picture):
    a, b, c = (picture(seed=seed) for seed in range(3))
    pairs = [(a, b), (b, c), (a, c)]
    together = averaged(ssim_of_channel(pairs, channel) for channel in range(3))
    for pair, (score, local) in zip(pairs, together, strict=True):
        alone, alone_local = ssim(*pair)
        assert score == alone
        assert np.array_equal(local, alone_local)


def test_equals_the_papers_formula_at_one_pixel():
    """An 11×11 image has exactly one whole window: SSIM is that window's value, by hand from Wang et al."""
    a, b = np.random.default_rng(5).integers(0, 256, (2, 11, 11, 3), dtype=np.uint8)
    offsets = np.arange(-5, 6)
    row = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(row, row) / row.sum() ** 2
    values = [_window(a[..., c].astype(float), b[..., c].astype(float), weights) for c in range(3)]
    score, local = ssim(a, b)
    assert score == pytest.approx(np.mean(values), abs=1e-12)
    assert local[5, 5] == pytest.approx(np.mean(values), abs=1e-12)


def test_equal_images_score_one_everywhere(picture):
    score, local = ssim(picture(), picture())
    assert score == 1
    assert local.shape == picture().shape[:2]
    assert np.all(local == 1)


def test_the_map_shows_the_place(picture):
    changed = picture().copy()
    changed[40:60, 20:40] = 255 - changed[40:60, 20:40]
    _, local = ssim(picture(), changed)
    assert local[45:55, 25:35].max() < 0.5 < local[:30].min()


def test_sizes_that_differ_are_refused(picture):
    with pytest.raises(ValueError, match="one size"):
        ssim(picture(), picture(width=96))


def _window(a, b, weights):
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (
        (2 * mean_a * mean_b + c1)
        * (2 * covariance + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    )
