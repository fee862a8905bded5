"""What a file is that is not read as an image, by its first bytes."""

from __future__ import annotations

from harness._util.mixed_up_files import what_came_instead

ANOTHER_FORMAT = "give a jpg, png or webp file"

_STARTS = {
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\x1aE\xdf\xa3": "a WebM or Matroska video",
}
_BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"mif1": "a HEIF image",
    b"heic": "a HEIF image",
    b"heix": "a HEIF image",
}
"""Names at byte 8 of a file whose bytes 4 to 7 are ``ftyp``; every other one is of a video."""


def what_it_is(head: bytes) -> tuple[str, str]:
    """Return what a file is and what to do about it, from its first ``MAX_HEAD`` bytes or all of them."""
    if (found := what_came_instead(head)) is not None:
        return found
    if head[4:8] == b"ftyp":
        return f"is {_BRANDS.get(head[8:12], 'an MP4 video')}", ANOTHER_FORMAT
    for start, what in _STARTS.items():
        if head.startswith(start):
            return f"is {what}", ANOTHER_FORMAT
    return "is not an image", ANOTHER_FORMAT
