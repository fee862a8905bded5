"""Reading and writing files so that nothing is half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

MAX_BYTES = 64 << 20
"""Largest JSON file that is read whole."""

PART = ".part"
"""Suffix of the hidden file that is being written. A killed process leaves one behind: nothing reads it, and
the next write of the same file takes it over."""


@contextmanager
def disk_errors_as(error: Callable[..., Exception], found: str, **about: Any) -> Iterator[None]:
    """Say an ``OSError`` of the block in one line: ``found``, with the system's reason in brackets.

    Args:
        error: makes the exception, from that and from ``about``: ``file``, ``field``, ``fix``.
    """
    try:
        yield
    except OSError as problem:
        raise error(f"{found} ({problem.strerror or problem})", **about) from problem


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 lowercase hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the content of an untrusted file of at most ``limit`` bytes.

    Raises:
        OSError: not readable, not a regular file (a pipe or device may never end), or larger.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a path holds no NUL character", str(path))
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        reason = f"a path holds no character {error.object[error.start]!r}"
        raise OSError(errno.EINVAL, reason, str(path)) from None
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB", str(path))
        return file.read()  # read(limit) would allocate that much first


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would wait for its writer


def write_bytes(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write ``data`` to ``path`` atomically: readers see the old file or the whole new one.

    Args:
        lasting: wait until the disk has it, so that it survives a power failure too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PART}")
    with _errors_name(path), _locked(partial):
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                if lasting:
                    os.fsync(file.fileno())
            partial.chmod(0o644)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Let an ``OSError`` of the block name ``path``, which a user knows: not its hidden file, nor nothing.

    The system names no file where a disk is full.
    """
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of the block, in which ``path`` is read and written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = path.with_name(f".{path.name}.lock{PART}")
    with _locked(guard):
        try:
            yield
        finally:
            guard.unlink(missing_ok=True)


def write_new(path: Path, data: bytes) -> None:
    """Write ``data`` to a file that is not there yet, in a folder that nobody else writes to."""
    with _errors_name(path), path.open("xb") as file:
        file.write(data)
    path.chmod(0o644)


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Hold the lock of the hidden file ``partial``, which a killed process may have left there."""
    if sys.platform == "win32":
        yield
        return
    while True:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            with suppress(OSError):  # some network file systems know no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _names(partial, handle):
                yield
                return
        finally:
            os.close(handle)


def _names(path: Path, handle: int) -> bool:
    """Say whether ``path`` still names the open file: its former holder may have renamed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def copy_file(source: Path, target: Path) -> None:
    """Copy ``source`` to ``target``, whose folder is there, atomically."""
    partial = target.with_name(f".{target.name}{PART}")
    shutil.copyfile(source, partial)
    partial.replace(target)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any, *, sort_keys: bool = False) -> None:
    """Write ``content`` as indented JSON to ``path`` atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=sort_keys, ensure_ascii=False) + "\n")
