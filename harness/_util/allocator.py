"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_TRIM, _LARGEST_MMAP_THRESHOLD = (1 << 31) - 1, 32 << 20


def keep_freed_memory() -> None:
    """Keep what is freed for the next array, instead of giving it back to the system.

    Else each array of a few megabytes is mapped anew, and each of its pages costs a fault and is cleared.
    Threads share what is kept, so that it is no more than what they use together. This is of the whole
    process: for commands that end soon, before they begin threads. Without glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, _TRIM)
    mallopt(_M_ARENA_MAX, 1)
