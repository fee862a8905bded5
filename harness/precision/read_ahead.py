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

READERS, PIECE, BUFFER, GAP = 8, 32 << 20, 1 << 20, 1 << 17
"""Threads; bytes that one reads by one call; bytes of its buffer, which the call fills again and again and
which stays in a core's cache; and bytes between two extents that are read with them.

After each call a thread waits for the interpreter, which an import or who computes may hold: few calls are
long ones.
"""

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


def _joined(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Yield ``extents``, neighbours as one."""
    last: Extent | None = None
    for each in extents:
        if last is not None and each.file == last.file and 0 <= each.begin - last.end <= GAP:
            last = Extent(last.file, last.begin, each.end)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _pieces(extents: Iterable[Extent]) -> Iterator[Extent]:
    for file, begin, end in _joined(extents):
        for start in range(begin, end, PIECE):
            yield Extent(file, start, min(start + PIECE, end))


def _within(room: int, pieces: Iterable[Extent]) -> Iterator[Extent]:
    for piece in pieces:
        room -= piece.end - piece.begin
        if room < 0:
            return
        yield piece


def _read(descriptor: int, piece: Extent, stop: threading.Event) -> None:
    """Read a piece by one call, all parts of it to the same buffer: only the system's cache matters."""
    if not stop.is_set():
        if not hasattr(_own, "buffer"):
            _own.buffer = memoryview(bytearray(BUFFER))
        whole, rest = divmod(piece.end - piece.begin, BUFFER)
        os.preadv(descriptor, [_own.buffer] * whole + [_own.buffer[:rest]], piece.begin)


def free_memory() -> int:
    """Return the bytes that the system could give without swapping; 0 where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
