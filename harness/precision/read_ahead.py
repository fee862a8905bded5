"""Parts of files brought into the system's cache by threads that begin before there is anything to compute.

The import of torch takes as long as a third of the file's one read on a fast disk; reading goes on meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    stop = threading.Event()
    readers = ThreadPoolExecutor(READERS, "read-ahead")
    started, size = time.monotonic(), 0
    for piece in _within(free_memory() // 2, _pieces(extents)):
        readers.submit(_read, piece, stop)
        size += piece.end - piece.begin
    readers.submit(lambda: _log.info("read %.1f GB ahead in %.1f s", size / 1e9, time.monotonic() - started))
    try:
        yield
    finally:
        stop.set()
        readers.shutdown(cancel_futures=True)


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


def _read(piece: Extent, stop: threading.Event) -> None:
    if not stop.is_set():
        buffer: memoryview = _own.__dict__.setdefault("buffer", memoryview(bytearray(PIECE)))
        with piece.file.open("rb", buffering=0) as stream:
            stream.seek(piece.begin)
            stream.readinto(buffer[: piece.end - piece.begin])


def free_memory() -> int:
    """Return the bytes that the system could give without swapping; 0 where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
