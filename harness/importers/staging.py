"""Files that are built in a hidden folder and moved into place together: all of them, or none."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from harness.errors import JobError
from harness.schema.case import SUFFIX

if sys.platform != "win32":
    import fcntl

STAGING = ".harness-import-"
"""Prefix of the hidden folder in which an import is built; a killed import leaves it behind."""


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give a hidden folder inside ``folder``; remove it at the end, and those of killed imports before.

    A ``folder`` that did not exist before and is still empty is removed too.

    Raises:
        JobError: another import is at work there.
    """
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for leftover in folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            staged = Path(tempfile.mkdtemp(dir=folder, prefix=STAGING))
            try:
                yield staged
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        finally:
            if created and not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder itself, which ends with the process and leaves no file behind."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobError("is in use by another import", file=folder, fix="wait for it") from error
        except OSError:
            pass  # some network file systems know no locks
        yield
    finally:
        os.close(handle)


def install(staged: Path, folder: Path) -> None:
    """Move every staged file to its place in ``folder``, case files last, or put everything back.

    Raises:
        OSError: a file could not be moved; ``folder`` is as it was.
    """
    names = sorted(_files(staged), key=lambda name: (name.endswith(SUFFIX), name))
    backups, moved = Path(tempfile.mkdtemp(dir=staged)), 0
    try:
        for subfolder in {PurePosixPath(name).parent for name in names}:
            (folder / subfolder).mkdir(exist_ok=True)
        for name in names:
            target = folder / name
            if target.is_file():
                shutil.copyfile(target, backups / str(moved))
            (staged / name).replace(target)
            moved += 1
    except BaseException:
        for number in reversed(range(moved)):
            _put_back(folder / names[number], backups / str(number))
        raise


def _files(folder: Path) -> Iterator[str]:
    """Yield the path of every file below ``folder``, from there; as text, of which there is little."""
    for inner, _, names in os.walk(folder):
        place = Path(inner).relative_to(folder).as_posix()
        yield from (name if place == "." else f"{place}/{name}" for name in names)


def _put_back(target: Path, backup: Path) -> None:
    if backup.exists():
        backup.replace(target)
    else:
        target.unlink()
