"""Pictures made for the report: a thumbnail of both images, and the re-run encoded as its preview is.

A page that was opened from the disk may show files but not read their pixels; it may read pictures that
stand inside a script. So the pair that was scored is written as data addresses too, for the pixel values
under the cursor.
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from harness.errors import HarnessError
from harness.report.pictures import is_inside
from harness.runs.row import Row
from harness.scoring.codec import Codec
from harness.scoring.images import encode, load_rgb

THUMB_EDGE = 64
"""Height and width of each half of a thumbnail, pixels."""

MIME = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@dataclass(frozen=True)
class Media:
    """What the report makes of one row's images; each is None where the images do not allow it.

    Attributes:
        thumb: preview and re-run side by side, WebP.
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
    thumb = _thumbnail([path for path in (preview, rerun) if path])
    digest = hashlib.sha256(rerun.read_bytes()).hexdigest() if rerun else None
    if preview is None or rerun is None:
        return Media(thumb=thumb, rerun_sha256=digest)
    try:
        codec = Codec.of(preview)
        matched = codec.encode(load_rgb(rerun))
    except HarnessError:
        return Media(thumb=thumb, rerun_sha256=digest)
    kind = MIME[codec.format]
    return Media(thumb, data_address(kind, preview.read_bytes()), data_address(kind, matched), digest)


def data_address(kind: str, data: bytes) -> str:
    """Return a ``data:`` address that holds ``data``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _file(folder: Path, path: str | None) -> Path | None:
    return folder / path if path is not None and is_inside(folder, path) else None


def _thumbnail(paths: list[Path]) -> bytes | None:
    strip = Image.new("RGB", (2 * THUMB_EDGE, THUMB_EDGE), (128, 128, 128))
    drawn = 0
    for place, path in enumerate(paths):
        if half := _square(path):
            strip.paste(half, (place * THUMB_EDGE, 0))
            drawn += 1
    return (
        encode(strip.crop((0, 0, len(paths) * THUMB_EDGE, THUMB_EDGE)), "WEBP", quality=70) if drawn else None
    )


def _square(path: Path) -> Image.Image | None:
    """Return the middle square of an image at ``THUMB_EDGE``; None where it cannot be read."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.draft("RGB", (2 * THUMB_EDGE, 2 * THUMB_EDGE))
            edge = min(image.size)
            left, top = (image.width - edge) // 2, (image.height - edge) // 2
            box = (left, top, left + edge, top + edge)
            return image.convert("RGB").resize((THUMB_EDGE, THUMB_EDGE), Image.Resampling.BOX, box=box)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
