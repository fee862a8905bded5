"""Standard output and error that a command can do without: its work goes on where nobody reads it."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Pipe(io.FileIO):
    """A pipe that becomes the null device once its reader is gone, as that of ``| head``."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write ``data``, or drop it."""
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(data)


def outlive_readers() -> None:
    """Let standard output and error lose their reader without a word."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and _is_pipe(stream):
            setattr(sys, name, _over_pipe(stream))


def _is_pipe(stream: io.TextIOWrapper) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:  # it has no number: a caller put it in the place of the system's
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _over_pipe(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream like ``stream``, over the same pipe."""
    stream.flush()
    pipe = _Pipe(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        pipe if stream.write_through else io.BufferedWriter(pipe),  # as Python itself, with -u
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
