"""A JPEG that an import does not decode is judged as decoding would judge it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.errors import ImageError
from harness.metrics.image_file import check_image, read_image
from harness.metrics.jpeg_data import without_data

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "restarts": {"restart_marker_blocks": 2},
    "full-colour": {"subsampling": 0, "optimize": True},
    "progressive": {"progressive": True},
}


def jpeg(width: int = 40, height: int = 24, **options: Any) -> bytes:
    """Return a noisy JPEG."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60, **options)
    return file.getvalue()


def damaged(whole: bytes) -> list[bytes]:
    """Return the file cut at places all over it, closed again or not, and with single bytes changed."""
    random = Random(0)
    cuts = [whole[:place] for place in range(20, len(whole), 37)]
    changed = []
    for _ in range(40):
        place = random.randrange(2, len(whole))
        changed.append(
            whole[:place] + bytes([random.choice([0xFF, random.randrange(256)])]) + whole[place + 1 :]
        )
    return [whole, *cuts, *(cut + b"\xff\xd9" for cut in cuts), *changed]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_judged_as_by_decoding(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    for data in damaged(jpeg(**KINDS[kind])):
        path.write_bytes(data)
        assert outcome(lambda: check_image(path)[0]) == outcome(lambda: read_image(path).size)


def outcome(read: Callable[[], tuple[int, int]]) -> tuple[int, int] | str:
    """Return the size that was read, or what was found wrong."""
    try:
        return read()
    except ImageError as error:
        return error.found


def test_only_a_whole_sequential_jpeg_is_left_undecoded() -> None:
    assert without_data(jpeg()) is not None
    assert without_data(jpeg(restart_marker_blocks=2)) is not None
    assert without_data(jpeg()[:-2]) is None
    assert without_data(jpeg(progressive=True)) is None


@pytest.mark.parametrize("progressive", [False, True])
def test_an_image_of_a_few_pixels_is_one(tmp_path: Path, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(3, 1, progressive=progressive))
    assert check_image(path)[0] == (3, 1)
