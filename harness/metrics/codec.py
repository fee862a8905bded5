"""The preview's codec: what its file format does to an image, applied to the re-run before comparison."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from harness.errors import ImageError
from harness.metrics.image_file import read_image
from harness.metrics.images import Pixels, encode

Tables = tuple[tuple[int, ...], ...]

_FORMATS: dict[str, Literal["jpeg", "webp", "png"]] = {"JPEG": "jpeg", "WEBP": "webp", "PNG": "png"}
_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


WEBP_QUALITY = 80
"""Pillow's default, which AI Toolkit keeps to."""


@dataclass(frozen=True)
class Codec:
    """One way of writing an image to a file.

    Attributes:
        format: file format.
        quantization: JPEG only: its tables, 64 numbers each, in the order that Pillow takes them.
        subsampling: JPEG only: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0 (Pillow's numbers).
        lossless: the decoded image equals the image that was encoded.
        quality: lossy WebP only: 1 to 100, which the file does not record.
        method: lossy WebP only: effort, 0 to 6, which the file does not record either.
    """

    format: Literal["jpeg", "webp", "png"]
    quantization: Tables = ()
    subsampling: int | None = None
    lossless: bool = False
    quality: int = WEBP_QUALITY
    method: int = 4

    @classmethod
    def of(cls, path: Path) -> Codec:
        """Read from an image file how it was encoded.

        A lossy WebP does not record its quality: Pillow's default, 80, is assumed (AI Toolkit's own).

        Raises:
            ImageError: not readable, not JPEG, WebP or PNG, or of a subsampling that Pillow cannot write.
        """
        image = read_image(path)
        kind = _FORMATS.get(image.format or "")
        if kind is None:
            raise ImageError(f"is {image.format}", file=path, fix="AI Toolkit writes jpg, png or webp")
        if kind == "jpeg":
            return _jpeg(path, image)
        return cls(kind, lossless=kind == "png" or _webp_is_lossless(path.read_bytes()))

    def encode(self, array: Pixels) -> bytes:
        """Return the file's bytes for an H×W×3 image, 0 to 255."""
        image = Image.fromarray(array)
        if self.format == "jpeg":
            tables = [list(table) for table in self.quantization]
            return encode(image, "JPEG", qtables=tables, subsampling=self.subsampling)
        if self.format == "webp":
            if self.lossless:
                return encode(image, "WEBP", lossless=True)
            return encode(image, "WEBP", quality=self.quality, method=self.method)
        return encode(image, "PNG")

    def apply(self, array: Pixels) -> Pixels:
        """Return the H×W×3 image, 0 to 255, as it comes back after encoding and decoding."""
        if self.lossless:
            return array
        with Image.open(io.BytesIO(self.encode(array))) as image:
            return np.array(image.convert("RGB"), dtype=np.uint8)

    def describe(self) -> str:
        """Say the codec in words, e.g. ``JPEG, 4:2:0, quality 75 tables``."""
        if self.format == "png":
            return "PNG, lossless"
        if self.format == "webp":
            return "WebP, lossless" if self.lossless else f"WebP, lossy (quality {self.quality} assumed)"
        quality = _standard_quality(self.quantization)
        tables = f"quality {quality} tables" if quality is not None else "tables of its own"
        return f"JPEG, {_SUBSAMPLING[self.subsampling or 0]}, {tables}"


def _jpeg(path: Path, image: Image.Image) -> Codec:
    if not isinstance(image, JpegImageFile):
        raise ImageError("holds several pictures (MPO)", file=path, fix="give a still image")
    subsampling = get_sampling(image)
    if subsampling not in _SUBSAMPLING:
        raise ImageError("has a JPEG subsampling that cannot be written again", file=path)
    return Codec("jpeg", _tables(image), subsampling)


def _tables(image: JpegImageFile) -> Tables:
    return tuple(tuple(table) for _, table in sorted(image.quantization.items()))


def _standard_quality(tables: Tables) -> int | None:
    """Return the quality (1 to 100) whose libjpeg tables these are, or None."""
    probe = Image.new("RGB", (8, 8))
    for quality in range(1, 101):
        with JpegImageFile(io.BytesIO(encode(probe, "JPEG", quality=quality))) as written:
            found = _tables(written)
        if found == tables:
            return quality
    return None


def _webp_is_lossless(data: bytes) -> bool:
    """Read the RIFF chunks of a still WebP: ``VP8L`` is lossless, ``VP8 `` (with a space) is lossy."""
    position = 12
    while position + 8 <= len(data):
        name = data[position : position + 4]
        if name in {b"VP8L", b"VP8 "}:
            return name == b"VP8L"
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return False
