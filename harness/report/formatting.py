"""Numbers, names and anchors as a reader sees them."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from typing import Any

from harness.schema.result import REFERENCE

MAX_SLUG = 120
"""Characters of a row's page name before its hash; disks allow 255."""

NONE = "–"
"""Shown where there is no value."""


def number(value: float | None, digits: int) -> str:
    """Return ``value`` with a fixed number of decimals; the infinity sign where it is infinite."""
    if value is None:
        return NONE
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def percent(share: float) -> str:
    """Return a share (1 is all) in whole percent, with a decimal only below 10 %."""
    if not math.isfinite(share):
        return "∞"
    if share == 0:
        return "0 %"
    return f"{share * 100:.0f} %" if share >= 0.0995 else f"{share * 100:.1f} %"


def seconds(value: float) -> str:
    """Return a duration in seconds, or in minutes and seconds from two minutes on."""
    if value < 120:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def moment(iso: str) -> str:
    """Return an ISO 8601 time as ``2026-11-23 21:24 UTC``; other text is returned unchanged."""
    try:
        when = datetime.datetime.fromisoformat(iso)
        return when.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC") if when.tzinfo else iso
    except (ValueError, OverflowError):  # in UTC it would lie before the year 1
        return iso


def plain(value: Any) -> str:
    """Return a setting's value in words: ``none``, ``yes``, ``4``, ``0.7``, ``torch 2.14.1``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "empty"


def size(width: int, height: int) -> str:
    """Return a size in pixels as width by height."""
    return f"{width} × {height}"


def short_hash(digest: str | None) -> str:
    """Return the first 12 digits of a hash: enough to tell two apart."""
    return digest[:12] if digest else "none"


def slug(case: str, variant: str = REFERENCE) -> str:
    """Return the name of one row's page, without its suffix: the same in every report, safe on every disk.

    Lower-case letters, digits, ``_``, ``.`` and ``-`` stay, ``/`` becomes ``--``. Where that would lose
    something, a hash of the whole name follows, so that two rows never share a page, even on a disk
    that ignores case.
    """
    name = case if variant == REFERENCE else f"{case}@{variant}"
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", name.replace("/", "--"))
    if safe.replace("--", "/") == name and safe == safe.lower() and len(safe) <= MAX_SLUG and safe[:1] != ".":
        return safe
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{safe[:MAX_SLUG].lstrip('.')}-{digest}"


def markdown(text: str) -> str:
    """Return text on one line, with every character that Markdown or HTML could act on escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!@])", r"\\\1", " ".join(text.split()))


def script_json(value: Any) -> str:
    """Return ``value`` as JSON that is safe inside a ``<script>`` and in a script file alike."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
