from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import ImageError
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb

GENUINE = Path(__file__).parents[1] / "data" / "jobs" / "tiny_flex2_simple_v1" / "samples"

JPEGS = [
    ({}, "JPEG, 4:2:0, quality 75 tables"),
    ({"quality": 95}, "JPEG, 4:2:0, quality 95 tables"),
    ({"quality": 90, "subsampling": 0}, "JPEG, 4:4:4, quality 90 tables"),
    ({"quality": 40, "subsampling": 1, "progressive": True}, "JPEG, 4:2:2, quality 40 tables"),
    (
        {"qtables": [[n % 7 + 3 for n in range(64)], [n % 5 + 9 for n in range(64)]]},
        "JPEG, 4:2:0, tables of its own",
    ),
    ({"qtables": [[n % 11 + 3 for n in range(64)]]}, "JPEG, 4:2:0, tables of its own"),
]


@pytest.mark.parametrize(("options", "words"), JPEGS)
def test_jpeg_is_repeated_to_the_pixel(tmp_path, picture, options, words):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path, **options)
    codec = Codec.of(path)
    assert np.array_equal(codec.apply(picture()), load_rgb(path))
    assert not np.array_equal(load_rgb(path), picture())
    assert codec.describe() == words


def test_pillow_default_jpeg_is_repeated_to_the_byte(tmp_path, picture):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path)
    assert Codec.of(path).encode(picture()) == path.read_bytes()


@pytest.mark.parametrize("lossless", [False, True])
def test_webp(tmp_path, picture, lossless):
    path = tmp_path / "a.webp"
    Image.fromarray(picture()).save(path, lossless=lossless)
    codec = Codec.of(path)
    assert codec.lossless is lossless
    assert np.array_equal(codec.apply(picture()), load_rgb(path))
    assert np.array_equal(load_rgb(path), picture()) is lossless
    assert ("lossless" in codec.describe()) is lossless


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_with_other_chunks_in_front(tmp_path, picture, lossless):
    path = tmp_path / "a.webp"
    profile = b"odd"
    Image.fromarray(picture()).save(path, lossless=lossless, icc_profile=profile)
    assert b"VP8X" in path.read_bytes()[:16]
    assert Codec.of(path).lossless is lossless


def test_png_is_the_identity(tmp_path, picture):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    codec = Codec.of(path)
    assert codec == Codec("png", lossless=True)
    assert np.array_equal(codec.apply(picture()), picture())
    assert codec.describe() == "PNG, lossless"


def test_another_format_is_refused(tmp_path, picture):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path, format="BMP")
    with pytest.raises(ImageError, match="is a BMP image; give a jpg, png or webp file"):
        Codec.of(path)


def test_a_genuine_preview_is_pillows_default():
    codecs = {Codec.of(path).describe() for path in GENUINE.glob("*.jpg")}
    assert codecs == {"JPEG, 4:2:0, quality 75 tables"}
