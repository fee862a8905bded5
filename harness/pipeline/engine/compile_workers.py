"""The processes in which torch compiles kernels.

Python waits for them when it ends. They are ended before, beside what is left to do.
"""

from __future__ import annotations

import sys
import threading

_ending: list[threading.Thread] = []


def end_compile_workers() -> None:
    """Begin to end them, where there are any."""
    compiler = sys.modules.get("torch._inductor.async_compile")
    if compiler is not None:
        wait_until_ended()
        _ending.append(threading.Thread(target=compiler.shutdown_compile_workers))
        _ending[-1].start()


def wait_until_ended() -> None:
    """Wait for those that ``end_compile_workers`` ends, before others begin."""
    while _ending:
        _ending.pop().join()
