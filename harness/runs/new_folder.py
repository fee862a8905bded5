"""New run folders, named by the time; no two sessions get the same one."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import RunError


@contextmanager
def fresh_folder(runs: Path, prefix: str = "") -> Iterator[Path]:
    """Hold a new run folder for as long as it takes to fill it; if nothing was put there, it goes again.

    Args:
        runs: the folder that holds run folders.
        prefix: what the name begins with; the time follows.

    Raises:
        RunError: ``runs`` cannot be written.
    """
    folder = claim(runs, prefix)
    try:
        yield folder
    finally:
        give_back(folder)


def claim(runs: Path, prefix: str = "") -> Path:
    """Return a new, empty folder ``<prefix><date>_<time>``; with -2, -3 … where that name is taken.

    Making the folder is what takes the name: of two processes in the same second, one gets the next.

    Raises:
        RunError: ``runs`` cannot be written.
    """
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H%M%S")
    for count in itertools.count(1):
        folder = runs / (f"{prefix}{stamp}-{count}" if count > 1 else f"{prefix}{stamp}")
        try:
            folder.mkdir(parents=True)
            return folder
        except OSError as error:
            if folder.is_dir():
                continue
            raise RunError(
                f"cannot be written ({error.strerror or error})", file=runs, fix="name another folder"
            ) from error
    raise AssertionError("numbers do not end")


def give_back(folder: Path) -> None:
    """Remove a claimed folder that is still empty, and the folder of runs where it is empty then."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()
