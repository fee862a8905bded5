"""Whether the data of a JPEG is all there, without decoding it."""

from __future__ import annotations

import re

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_BASELINE, _SCAN, _APP2 = (0xC0, 0xC1), 0xDA, 0xE2
_TABLES = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
"""Markers before the data that change nothing about where it ends: tables, restarts, comments."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""A marker within the data of a scan, where FF 00 is a byte and FF D0 to FF D7 are restarts."""


def without_data(jpeg: bytes) -> bytes | None:
    """Return the header of a whole JPEG, closed as an image of no data, or None where only decoding can tell.

    libjpeg fills up what data lacks and reads over what is damaged, without an error; it raises on a header,
    and where a file ends before the marker of its end. So a sequential JPEG of one scan, whose data runs to
    that marker, decodes if its header does. Source: libjpeg-turbo 3.1, ``jdhuff.c`` and ``jdmarker.c``.
    """
    if not jpeg.startswith(_SOI):
        return None
    place, components = 2, None
    while len(jpeg) >= place + 4 and jpeg[place] == 0xFF:
        marker, length = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4], "big")
        content = jpeg[place + 4 : place + 2 + length]
        place += 2 + length
        if marker in _BASELINE and components is None and len(content) > 5:
            components = content[5]
        elif marker == _SCAN and content and content[0] == components:
            end = _MARKER.search(jpeg, place)
            return jpeg[:place] + _EOI if end and end[0] == _EOI else None
        elif marker not in _TABLES or length < 2 or (marker == _APP2 and content.startswith(b"MPF\0")):
            return None
    return None
