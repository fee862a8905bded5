"""Parts of files brought into the system's cache by threads that begin before there is anything to compute.

The import of torch takes as long as a third of the file's one read on a fast disk; reading goes on meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

READERS, PIECE = 8, 4 << 20
"""Threads, and bytes that one reads at once: together what keeps a disk busy."""


_own = threading.local()
"""The buffer of each reading thread; a new one for each piece would cost as much as the reading."""

_log = logging.getLogger(__name__)


class Extent(NamedTuple):
    """Bytes of a file, from ``begin`` to before ``end``."""

    file: Path
    begin: int
    end: int


@contextmanager
def reading_ahead(extents: Iterable[Extent]) -> Iterator[None]:
    """Read ``extents``, in their order and with several threads, until all are read or the block ends.

    At most half of the memory that is free for it is filled, so that nothing is pushed out before it is used.
    What cannot be read is left to whoever needs it.
    """
    pieces = list(_within(free_memory() // 2, _pieces(extents)))
    started, size = time.monotonic(), sum(piece.end - piece.begin for piece in pieces)
    stop = threading.Event()
    readers = ThreadPoolExecutor(READERS, "read-ahead")
    with _opened({piece.file for piece in pieces}) as files:
        for piece in pieces:
            if piece.file in files:
                readers.submit(_read, files[piece.file], piece, stop)
        readers.submit(
            lambda: _log.info("read %.1f GB ahead in %.1f s", size / 1e9, time.monotonic() - started)
        )
        try:
            yield
        finally:
            stop.set()
            readers.shutdown(cancel_futures=True)


@contextmanager
def _opened(files: Iterable[Path]) -> Iterator[dict[Path, int]]:
    """Yield the descriptors of those files that can be opened."""
    found: dict[Path, int] = {}
    try:
        for file in files:
            with suppress(OSError):
                found[file] = os.open(file, os.O_RDONLY)
        yield found
    finally:
        for descriptor in found.values():
            os.close(descriptor)


def _pieces(extents: Iterable[Extent]) -> Iterator[Extent]:
    for file, begin, end in extents:
        for start in range(begin, end, PIECE):
            yield Extent(file, start, min(start + PIECE, end))


def _within(room: int, pieces: Iterable[Extent]) -> Iterator[Extent]:
    for piece in pieces:
        room -= piece.end - piece.begin
        if room < 0:
            return
        yield piece


def _read(descriptor: int, piece: Extent, stop: threading.Event) -> None:
    """Read a piece by one call: after each the thread waits until an import lets go of the interpreter."""
    if not stop.is_set():
        if not hasattr(_own, "buffer"):
            _own.buffer = memoryview(bytearray(PIECE))
        os.preadv(descriptor, [_own.buffer[: piece.end - piece.begin]], piece.begin)


def free_memory() -> int:
    """Return the bytes that the system could give without swapping; 0 where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
