"""FLIP (Andersson et al. 2020) by its own package, in a process of its own where it takes long.

The package keeps Python's lock while it computes, about as long as everything else that is scored takes: in a
thread it would hold up all of that.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np

from harness.metrics.images import Pixels, check_pair

PIXELS_PER_DEGREE = 67.02064514160156
"""FLIP's own default: 0.7 m before a 4K display that is 0.7 m wide."""

LARGE = 512 * 512
"""Pixels from which on a process of its own is worth what passing the pair to it takes."""

_processes: dict[int, subprocess.Popen[bytes]] = {}
"""By the process that asks: a fork must not speak to its parent's."""

_in_turn = threading.Lock()


def flip(a: Pixels, b: Pixels) -> float:
    """Return the mean FLIP of two H×W×3 images, 0 to 255: 0 is equal, 1 the most.

    Raises:
        ImportError: the package is not installed.
        ValueError: the shapes differ or are not H×W×3.
    """
    check_pair(a, b)
    if a.shape[0] * a.shape[1] >= LARGE and (mean := _in_a_process(a, b)) is not None:
        return mean
    return _mean(a, b)


def _mean(a: Pixels, b: Pixels) -> float:
    from flip_evaluator import evaluate

    levels = [image / np.float32(255) for image in (a, b)]
    _, mean, _ = evaluate(*levels, "LDR", applyMagma=False, parameters={"ppd": PIXELS_PER_DEGREE})
    return float(mean)


def _in_a_process(a: Pixels, b: Pixels) -> float | None:
    """Return what ``_mean`` returns, or None where no process could be started or it failed."""
    with _in_turn:
        try:
            if os.getpid() not in _processes:
                _processes[os.getpid()] = _start()
            return _ask(_processes[os.getpid()], a, b)
        except (OSError, ValueError):
            _end()
            return None
        except BaseException:  # Ctrl-C: its answer would be taken for the next pair's
            _end()
            raise


def _start() -> subprocess.Popen[bytes]:
    """Start the process, which stays: it imports for a tenth of the time that a 1024² pair takes.

    It has one thread, since the other cores have other metrics to compute.
    """
    command = [sys.executable, "-c", "from harness.metrics.flip import answer; answer()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _ask(process: subprocess.Popen[bytes], a: Pixels, b: Pixels) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"%d %d\n" % a.shape[:2])
    for image in (a, b):
        process.stdin.write(image.tobytes())
    process.stdin.flush()
    return float(process.stdout.readline())


@atexit.register
def _end() -> None:
    process = _processes.pop(os.getpid(), None)
    if process is not None:
        process.kill()
        with suppress(OSError):  # what it did not read
            process.communicate()


def answer() -> None:
    """Print the mean FLIP of each pair that stdin holds; it ends with the process that asks."""
    while size := sys.stdin.buffer.readline():
        height, width = map(int, size.split())
        pair = np.frombuffer(sys.stdin.buffer.read(2 * height * width * 3), np.uint8)
        print(repr(_mean(*pair.reshape(2, height, width, 3))), flush=True)
