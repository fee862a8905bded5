"""A PNG that carries a workflow of megabytes is an image all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from harness.errors import ImageError
from harness.metrics.image_file import check_image
from harness.metrics.images import load_rgb


def with_text(path: Path, *, kind: str, size: int) -> Path:
    """Write a PNG with a compressed text of ``size`` characters, before or after its pixels."""
    info = PngImagePlugin.PngInfo()
    if kind == "itxt":
        info.add_itxt("workflow", "x" * size, zip=True)
    else:
        info.add_text("workflow", "x" * size, zip=True)
    Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("kind", ["itxt", "text"])
@pytest.mark.parametrize("size", [10, 2 << 20])
def test_the_pixels_are_read(tmp_path: Path, kind: str, size: int) -> None:
    path = with_text(tmp_path / "a.png", kind=kind, size=size)
    assert check_image(path)[0] == (64, 64)
    assert np.array_equal(load_rgb(path), np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))


def test_a_truncated_one_is_truncated(tmp_path: Path) -> None:
    path = with_text(tmp_path / "a.png", kind="itxt", size=2 << 20)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match="is truncated"):
        load_rgb(path)


@pytest.mark.parametrize("keep", [1, 2, 10])
def test_a_reduced_jpeg_shows_where_it_is_cut(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    Image.fromarray(noise).save(path)
    assert check_image(path)[0] == (512, 512)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * (20 - keep) // 20])
    with pytest.raises(ImageError, match="is truncated"):
        check_image(path)
