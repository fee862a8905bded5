"""Opening image files with every check, without numpy: an import needs no pixels."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from harness._util.mixed_up_files import MAX_HEAD
from harness.errors import ImageError
from harness.metrics.foreign_files import what_it_is
from harness.metrics.jpeg_data import without_data

MAX_PIXELS = 64_000_000
"""Largest image that is decoded; more is refused from the header alone."""

MAX_BYTES = 256 << 20
"""Largest image file that is opened."""

FORMATS = ("JPEG", "PNG", "WEBP")
"""The formats that are opened at all: Pillow knows dozens, and hands one of them to Ghostscript."""

_ORIENTATION, _TURNED = 0x0112, range(2, 9)


def read_image(path: Path) -> Image.Image:
    """Read and decode an image with the checks of ``load_rgb``; the result keeps its file's format fields.

    Raises:
        ImageError: as ``load_rgb``.
    """
    with image_errors(path):
        return _with_any_text(path, path)


def check_image(path: Path) -> tuple[tuple[int, int], str]:
    """Return (width, height) of an image in pixels and its file's SHA-256, after the checks of ``load_rgb``.

    The file is read once. A JPEG is decoded only where ``without_data`` cannot say whether it is whole, and
    then at an eighth of its size.

    Raises:
        ImageError: as ``load_rgb``.
    """
    with image_errors(path):
        data = path.read_bytes()
        image = _with_any_text(path, without_data(data) or data, reduced=True)
    return image.info["full_size"], hashlib.sha256(data).hexdigest()


def _with_any_text(path: Path, source: Path | bytes, *, reduced: bool = False) -> Image.Image:
    """Decode an image, also a PNG with more text than Pillow accepts."""
    try:
        return _decode(path, source, reduced)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
        return _decode(path, _without_text(path.read_bytes()), reduced)


@contextmanager
def image_errors(path: Path) -> Iterator[None]:
    """Check that an image file is there and not too large; say what reading it raises as ``ImageError``."""
    try:
        _check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bombs are refused by their size; other warnings need no action
            yield
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError("does not exist", file=path) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "more pixels than Pillow opens") from error
    except UnidentifiedImageError as error:
        raise _not_read(path) from error
    except Exception as error:  # Pillow raises anything on broken files
        raise ImageError(
            f"is truncated or cannot be read ({error})", file=path, fix="copy it again"
        ) from error


def _decode(path: Path, source: Path | bytes, reduced: bool) -> Image.Image:
    opened = source if isinstance(source, Path) else io.BytesIO(source)
    with Image.open(opened, formats=FORMATS) as image:
        _check_header(path, image)
        image.info["full_size"] = image.size
        if reduced:
            image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        return image


def _without_text(png: bytes) -> bytes:
    """Return a PNG without its texts: Pillow refuses one above a megabyte, such as a large workflow."""
    kept, place = [png[:8]], 8
    while place + 8 <= len(png):
        length, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        if kind not in {b"tEXt", b"zTXt", b"iTXt"}:
            kept.append(png[place : place + 12 + length])
        place += 12 + length
    return b"".join(kept)


def _not_read(path: Path) -> ImageError:
    with path.open("rb") as file:
        found, fix = what_it_is(file.read(MAX_HEAD))
    return ImageError(found, file=path, fix=fix)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ImageError("is a folder", file=path, fix="name an image in it")
    if path.exists() and not path.is_file():
        raise ImageError("is not a regular file", file=path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ImageError(f"has {size} bytes; the limit is {MAX_BYTES >> 20} MiB", file=path)


def _check_header(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}×{height} pixels")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise ImageError(f"is animated ({frames} frames)", file=path, fix="give a still image")
    if unsupported := _unsupported(image):
        raise ImageError(unsupported, file=path, fix="give it in 8-bit RGB, as it was first written")


def _unsupported(image: Image.Image) -> str | None:
    """Return what an image holds that Pillow would drop or leave to the viewer without a word."""
    if image.mode != "RGB":
        return f"has mode {image.mode}, not RGB"
    tiles = getattr(image, "tile", None)
    if tiles and "16" in str(tiles[0][3]):
        return "has 16 bits a channel, not 8"
    if "transparency" in image.info:
        return "has a transparent colour"
    if (orientation := image.getexif().get(_ORIENTATION)) in _TURNED:
        return f"is turned by EXIF (orientation {orientation})"
    return None


def _too_large(path: Path, found: str) -> ImageError:
    return ImageError(f"has {found}; the limit is {MAX_PIXELS // 1_000_000} megapixels", file=path)
