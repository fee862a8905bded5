"""Whether a result can be written where it was asked for, found out before the work begins."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from harness._util.atomic_files import PART

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A URL as ``Path`` leaves it."""


def why_unwritable(path: Path, *, folder: bool = False) -> str | None:
    """Return why no file, or no ``folder``, can be made or filled at ``path``; None where it can.

    Missing parents are made later, so the nearest one that is there is tried. Nothing is left in it.
    """
    try:
        found = _no_folder(path) if folder else _no_file(path)
        if found is not None:
            return found
        place = path.absolute() if folder else path.absolute().parent
        nearest = next(each for each in (place, *place.parents) if os.path.lexists(each))
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _no_folder(path: Path) -> str | None:
    """Return what lies at ``path`` in the way of a folder.

    Raises:
        OSError, ValueError: the system takes no such name.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
        return None if path.is_dir() else "it is no folder"
    return None


def _no_file(path: Path) -> str | None:
    """Return what lies at ``path`` in the way of a file.

    Raises:
        OSError, ValueError: the system takes no such name.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        (path.parent / f".{path.name}{PART}").lstat()  # which is written first, and has a longer name
    if path.is_dir():
        return "it is a folder"
    return "it is no regular file" if path.exists() and not path.is_file() else None


def is_url(path: Path) -> bool:
    """Say whether ``path`` was a URL; a drive has one letter."""
    return _URL.match(str(path)) is not None
