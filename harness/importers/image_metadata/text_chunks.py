"""The texts that tools put into image files: PNG text chunks, and EXIF of JPEG and WebP."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from PIL import ExifTags, Image

from harness.errors import ImageError
from harness.metrics.image_file import FORMATS, MAX_PIXELS, image_errors

MAX_TEXT = 2 << 20
"""Characters of one text that are read; a workflow of thousands of nodes has fewer."""

_USER_COMMENT = int(ExifTags.Base.UserComment)
_TEXT_TAGS = {
    int(ExifTags.Base.Make): "Make",
    int(ExifTags.Base.Model): "Model",
    int(ExifTags.Base.ImageDescription): "ImageDescription",
    int(ExifTags.Base.Software): "Software",
}


@dataclass(frozen=True)
class ImageTexts:
    """The texts of one image file.

    Attributes:
        format: ``PNG``, ``JPEG`` or ``WEBP``.
        size: (width, height), pixels.
        texts: by keyword of the PNG chunk, or name of the EXIF tag.
        too_long: keywords whose text is longer than is read.
    """

    format: str
    size: tuple[int, int]
    texts: dict[str, str] = field(default_factory=dict)
    too_long: tuple[str, ...] = ()


def read_texts(path: Path) -> ImageTexts:
    """Read size and texts of a PNG, JPEG or WebP file; the pixels are not decoded.

    Raises:
        ImageError: missing, unreadable, not one of these formats, or larger than is opened.
    """
    with image_errors(path), Image.open(path, formats=FORMATS) as image:
        return _texts(path, image)


def _texts(path: Path, image: Image.Image) -> ImageTexts:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"has {width}×{height} pixels; too many are not read", file=path)
    found = {str(key): value for key, value in image.info.items() if isinstance(value, str)}
    if image.format == "PNG":
        image.load()  # text chunks may follow the pixels
        found |= {str(key): str(value) for key, value in getattr(image, "text", {}).items()}
    exif = image.getexif()
    found |= {name: str(exif[tag]) for tag, name in _TEXT_TAGS.items() if tag in exif}
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT)
    if comment:
        found["UserComment"] = user_comment(comment)
    kept = {key: value for key, value in found.items() if len(value) <= MAX_TEXT}
    return ImageTexts(image.format or "", image.size, kept, tuple(sorted(found.keys() - kept.keys())))


_CODES = {b"ASCII\0\0\0": "utf-8", b"\0" * 8: "utf-8", b"JIS\0\0\0\0\0": "iso2022_jp"}
"""How the text of an EXIF UserComment is encoded, by the eight bytes before it."""


def user_comment(raw: bytes | str) -> str:
    """Return the text of an EXIF UserComment: eight bytes name its code, and the text follows.

    ``UNICODE`` is UTF-16; in which order of bytes, the standard leaves open: the one in which most characters
    of Latin script come out as such is taken. Some tools write UTF-8 there, in which no byte is 0.
    """
    if isinstance(raw, str):
        return raw
    code, body = raw[:8], raw[8:]
    if code.startswith(b"UNICODE"):
        order = "be" if body[0::2].count(0) >= body[1::2].count(0) else "le"
        encoding = f"utf-16-{order}" if 0 in body else "utf-8"
    elif code in _CODES:
        encoding = _CODES[code]
    else:
        encoding, body = "utf-8", raw
    return body.decode(encoding, errors="replace").strip("\0\ufeff")
