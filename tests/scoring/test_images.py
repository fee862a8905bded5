from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import ImageError
from harness.scoring.images import check_pair, load_rgb, same_size, save_png


def test_png_round_trip_is_lossless_and_leaves_no_other_file(tmp_path, picture):
    path = tmp_path / "deep" / "a.png"
    save_png(path, picture())
    assert np.array_equal(load_rgb(path), picture())
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_a_picture_is_read_height_first(tmp_path):
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "a.png")
    array = load_rgb(tmp_path / "a.png")
    assert array.shape == (30, 40, 3)
    assert array.dtype == np.uint8
    assert array[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_truncated(tmp_path, picture, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"truncated or cannot be read|is not an image"):
        load_rgb(path)


def test_missing(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: does not exist"):
        load_rgb(tmp_path / "gone.png")


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        load_rgb(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\x00\x00\x00WEBPVP8 "])
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        load_rgb(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_another_mode_is_named(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (32, 32)).save(path)
    with pytest.raises(ImageError, match=f"has mode {mode}"):
        load_rgb(path)


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_animated(tmp_path, picture, suffix):
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"animated \(3 frames\)"):
        load_rgb(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (12000, 12000), (65000, 65000)])
def test_too_large_is_refused_from_the_header(tmp_path, width, height):
    path = tmp_path / "bomb.png"
    _png_header_only(path, width, height)
    with pytest.raises(ImageError, match="the limit is 64 megapixels"):
        load_rgb(path)


def test_sizes():
    wide, tall = np.zeros((16, 32, 3), np.uint8), np.zeros((32, 16, 3), np.uint8)
    assert same_size(wide, wide)
    assert not same_size(wide, tall)
    with pytest.raises(ValueError, match="one size"):
        check_pair(wide, tall)
    with pytest.raises(ValueError, match="H×W×3"):
        check_pair(wide[..., 0], wide[..., 0])


def _png_header_only(path: Path, width: int, height: int) -> None:
    """A PNG that claims a size and holds no pixels: decoding it would fail with another message."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    empty = b"IDAT" + zlib.compress(b"")
    chunks = [
        struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        for body in (header, empty)
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
