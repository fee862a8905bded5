"""Where the socket of a user's warm process lies: in a folder that nobody else may enter."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from harness.errors import HarnessError

NAME = "flex2-harness"


def socket_path() -> Path:
    """Return the path of this user's socket, whether or not it is there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime, NAME, "warm.sock")
    return Path(tempfile.gettempdir(), f"{NAME}-{os.getuid()}", "warm.sock")


def is_private(folder: Path) -> bool:
    """Whether ``folder`` is a folder, no link, that belongs to this user and is closed to all others."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def make_private(folder: Path) -> None:
    """Create ``folder`` for this user alone, unless it is there.

    Raises:
        HarnessError: something else is there, or others may enter it.
        OSError: it cannot be created.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_private(folder):
        found = "is not a folder of yours that is closed to others"
        raise HarnessError(found, file=folder, fix="remove it, or set XDG_RUNTIME_DIR to a folder of yours")
