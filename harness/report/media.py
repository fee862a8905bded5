"""Pictures made for the report: thumbnails, and the re-run encoded as its preview is.

A page that was opened from the disk may show files but not read their pixels; it may read pictures that
stand inside a script. So the pair that was scored is written as data addresses too, for the pixel values
under the cursor.
"""

from __future__ import annotations

import base64
import io
import mimetypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.errors import HarnessError
from harness.metrics.codec import Codec
from harness.metrics.image_file import FORMATS, MAX_PIXELS
from harness.metrics.images import encode, load_rgb
from harness.report.pictures import REDUCED_EDGE, is_inside
from harness.schema.result import Row

THUMB_EDGE = 64
"""Height and width of each square of a thumbnail, pixels."""


@dataclass(frozen=True)
class Media:
    """What the report makes of one row's images; each is None where the images do not allow it.

    Attributes:
        thumb: preview, re-run and difference side by side, WebP; what there is none of is transparent.
        preview: the preview as a ``data:`` address.
        rerun: the re-run, encoded as the preview is, as a ``data:`` address.
        rerun_sha256: SHA-256 of the re-run's file: what a reviewer looked at.
    """

    thumb: bytes | None = None
    preview: str | None = None
    rerun: str | None = None
    rerun_sha256: str | None = None


def make_media(folder: Path, row: Row) -> Media:
    """Read a row's images from the run folder; damaged or missing ones leave gaps, never an error."""
    preview, rerun = _file(folder, row.images.preview), _file(folder, row.images.rerun)
    digest = sha256_file(rerun) if rerun else None
    array = _array(rerun)
    before = _square(preview) if preview else None
    after = _shrunk(Image.fromarray(array)) if array is not None else None
    difference = _file(folder, row.images.maps.get("difference"))
    thumb = _thumbnail(before, after, _square(difference) if difference else None)
    if preview is None or array is None:
        return Media(thumb=thumb, rerun_sha256=digest)
    try:
        codec = Codec.of(preview)
        matched = codec.encode(array)
    except HarnessError:
        return Media(thumb=thumb, rerun_sha256=digest)
    kind = f"image/{codec.format}"
    return Media(thumb, data_address(kind, preview.read_bytes()), data_address(kind, matched), digest)


def reduced(path: Path) -> str:
    """Return a picture as a ``data:`` address, no larger than a contact sheet needs it."""
    array = _array(path)
    if array is None or max(array.shape) <= 2 * REDUCED_EDGE:
        return file_address(path)
    image = Image.fromarray(array)
    image.thumbnail((2 * REDUCED_EDGE, 2 * REDUCED_EDGE))
    return data_address("image/webp", encode(image, "WEBP", quality=80))


def data_address(kind: str, data: bytes) -> str:
    """Return a ``data:`` address that holds ``data``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def file_address(path: Path) -> str:
    """Return a file as a ``data:`` address."""
    return data_address(mimetypes.guess_type(path)[0] or "image/png", path.read_bytes())


def _file(folder: Path, path: str | None) -> Path | None:
    return folder / path if path is not None and is_inside(folder, path) else None


def _array(path: Path | None) -> NDArray[np.uint8] | None:
    try:
        return load_rgb(path) if path is not None else None
    except HarnessError:
        return None


def _thumbnail(*squares: Image.Image | None) -> bytes | None:
    there = [(place, square) for place, square in enumerate(squares) if square is not None]
    if not there:
        return None
    mode = "RGB" if len(there) == len(squares) else "RGBA"
    strip = Image.new(mode, (len(squares) * THUMB_EDGE, THUMB_EDGE))
    for place, square in there:
        strip.paste(square, (place * THUMB_EDGE, 0))
    return encode(strip, "WEBP", quality=70, method=0)


def _square(path: Path) -> Image.Image | None:
    """Return the middle square of an image file at ``THUMB_EDGE``; None where it cannot be read."""
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (2 * THUMB_EDGE, 2 * THUMB_EDGE))
            return _shrunk(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _shrunk(image: Image.Image) -> Image.Image:
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return image.resize((THUMB_EDGE, THUMB_EDGE), Image.Resampling.BOX, box=box)
