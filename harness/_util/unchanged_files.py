"""Tell whether a file is the one that was read before, without reading it again."""

from __future__ import annotations

import os
import time
from pathlib import Path

SETTLED = 2.0
"""Seconds after which another write shows in a file's times, however coarse the clock of its disk is."""

State = tuple[int, ...]


def file_state(path: Path) -> State:
    """Return what differs once ``path`` is written to or replaced, unless that was within ``SETTLED``.

    Raises:
        OSError: missing, or not readable.
    """
    return _state(path.stat())


def settled_state(path: Path) -> State | None:
    """Return what differs once ``path`` is written to or replaced; None for a file that was just written to.

    Raises:
        OSError: missing, or not readable.
    """
    found = path.stat()
    return None if time.time() - found.st_ctime < SETTLED else _state(found)


def _state(found: os.stat_result) -> State:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
