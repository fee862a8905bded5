"""Keeping secrets and a terminal's control characters out of everything that is printed or stored."""

from __future__ import annotations

import os
import re

HIDDEN = "…"

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN")
_SECRETS = re.compile(
    r"(\b(?:hf_|gh[pousr]_|github_pat_|sk-|Bearer\s+))[\w.~+/-]{20,}"
    r"|(\b[a-z][a-z0-9+.-]{0,31}://)(?:[^\s/@:\"',]{0,256}:(?!\d{1,5}/)[^\s@\"',]{1,256}|[^\s/@]{1,1024})(?=@)"
    r"|([?&](?:[\w.-]{0,64}(?:token|secret|signature|password|api[_-]?key)|sig|key)=)(?!hf_\w{20})[^\s&#\"',]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return ``text`` without tokens, passwords and keys in addresses, and values of the token variables."""
    for name in _VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= 8:
            text = text.replace(value, HIDDEN)
    return _SECRETS.sub(lambda match: (match[1] or match[2] or match[3]) + HIDDEN, text)


def printable(text: str) -> str:
    """Return ``text`` on one line, control characters shown as ``\\x1b``."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Return ``text`` with its spaces, and control characters shown as ``\\x1b``."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
