from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import ImageError
from harness.metrics.image_file import MAX_BYTES
from harness.metrics.images import check_pair, load_rgb, save_png


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
    with pytest.raises(ImageError, match="is a folder; name an image in it"):
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


@pytest.mark.parametrize(("mode", "suffix"), [("LA", "png"), ("RGBA", "webp"), ("L", "jpg"), ("1", "png")])
def test_grey_and_alpha_in_other_formats(tmp_path, mode, suffix):
    Image.new(mode, (32, 32)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ImageError, match=f"has mode {mode}"):
        load_rgb(tmp_path / f"a.{suffix}")


def test_16_bits_a_channel(tmp_path):
    rows = b"".join(b"\0" + bytes(range(8 * 6)) for _ in range(8))
    _png(tmp_path / "a.png", (8, 8), rows, depth=16)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB", "Pillow rounds it to 8 bits"
    with pytest.raises(ImageError, match="has 16 bits a channel"):
        load_rgb(tmp_path / "a.png")


def test_a_transparent_colour(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", transparency=(0, 0, 0))
    with pytest.raises(ImageError, match="has a transparent colour"):
        load_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_turned_by_exif(tmp_path, picture, suffix):
    exif = Image.Exif()
    for upright in (1, 0, 9):
        exif[0x0112] = upright
        Image.fromarray(picture()).save(tmp_path / f"a.{suffix}", exif=exif)
        load_rgb(tmp_path / f"a.{suffix}")
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / f"a.{suffix}", exif=exif)
    with pytest.raises(ImageError, match=r"is turned by EXIF \(orientation 6\)"):
        load_rgb(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(
    ("image_format", "said"),
    [
        ("GIF", "is a GIF image"),
        ("BMP", "is a BMP image"),
        ("TIFF", "is a TIFF image"),
        ("AVIF", "is an AVIF image"),
        ("JPEG2000", "is a JPEG 2000 image"),
        ("PPM", "is not an image"),
        ("ICO", "is not an image"),
        ("TGA", "is not an image"),
    ],
)
def test_another_format_is_named_and_not_opened(tmp_path, image_format, said):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.jpg", format=image_format)
    with pytest.raises(ImageError, match=f"{said}; give a jpg, png or webp file"):
        load_rgb(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; copy it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "is a Git LFS pointer, .* git lfs pull",
        ),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page; download the file itself"),
        (b"\0\0\0\x18ftypisom", "is an MP4 video; give a jpg"),
        (b"\0\0\0\x18ftypheic", "is a HEIF image; give a jpg"),
    ],
)
def test_what_came_instead_of_an_image_is_named(tmp_path, content, said):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=said):
        load_rgb(tmp_path / "a.png")


def test_postscript_does_not_reach_ghostscript(tmp_path):
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) show\n%%EOF\n")
    with pytest.raises(ImageError, match="is not an image"):
        load_rgb(tmp_path / "a.jpg")


def test_a_large_file_is_not_opened(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match="the limit is 256 MiB"):
        load_rgb(tmp_path / "a.jpg")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        load_rgb(tmp_path / "a.jpg")


def test_a_text_that_unpacks_to_much_is_left_packed(tmp_path):
    text = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    _png(tmp_path / "a.png", (8, 8), bytes(8 * 25), extra=[text])
    assert load_rgb(tmp_path / "a.png").shape == (8, 8, 3)


@pytest.mark.parametrize("suffix", ["png", "webp"])
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
    check_pair(wide, wide)
    with pytest.raises(ValueError, match="one size"):
        check_pair(wide, tall)
    with pytest.raises(ValueError, match="H×W×3"):
        check_pair(wide[..., 0], wide[..., 0])


def _png_header_only(path: Path, width: int, height: int) -> None:
    """A PNG that claims a size and holds no pixels: decoding it would fail with another message."""
    _png(path, (width, height), b"")


def _png(
    path: Path, size: tuple[int, int], pixels: bytes, depth: int = 8, extra: list[bytes] | None = None
) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", *size, depth, 2, 0, 0, 0)
    bodies = [header, *(extra or []), b"IDAT" + zlib.compress(pixels), b"IEND"]
    chunks = [
        struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in bodies
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
