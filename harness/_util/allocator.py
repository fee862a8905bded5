"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM, _LARGEST_MMAP_THRESHOLD = (1 << 31) - 1, 32 << 20


def keep_freed_memory() -> None:
    """Keep what is freed for the next array, instead of giving it back to the system.

    Else each array of a few megabytes is mapped anew, and each of its pages costs a fault and is cleared. Of
    the whole process, so for commands that end soon. Elsewhere than on Linux with glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, _TRIM)
