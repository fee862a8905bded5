from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.diagnosis.composition import compare, correlation
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb


@pytest.fixture
def previews(jobs: dict[str, Path]) -> list[Path]:
    return sorted((jobs["inkprint"] / "samples").glob("*__000000200_[23].jpg"))


def test_codec_brightness_and_noise_keep_the_composition(previews: list[Path]) -> None:
    image = load_rgb(previews[0])
    grain = np.random.default_rng(0).normal(0, 12, image.shape)
    assert correlation(image, image) == pytest.approx(1)
    assert compare(image, Codec.of(previews[1]).apply(image)) == "same"
    assert compare(image, np.clip(image + grain + 20, 0, 255).astype(np.uint8)) == "same"


def test_another_prompt_or_a_mirror_is_another_composition(previews: list[Path]) -> None:
    image = load_rgb(previews[1])
    assert compare(image, load_rgb(previews[0])) == "different"
    assert compare(image, image[:, ::-1]) == "different"


def test_sizes_and_flat_images() -> None:
    flat, other = np.full((64, 64, 3), 7, np.uint8), np.full((64, 64, 3), 9, np.uint8)
    assert correlation(flat, other) == 1
    assert compare(flat, flat[:32]) == "different"
    with pytest.raises(ValueError, match="shapes differ"):
        correlation(flat, flat[:32])
