"""FLIP (Andersson et al. 2020) by its own package, in a process of its own where it takes long.

The package keeps Python's lock while it computes, about as long as everything else that is scored takes: in a
thread it would hold up all of that.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np

from harness.metrics.images import Pixels, check_pair

PIXELS_PER_DEGREE = 67.02064514160156
"""FLIP's own default: 0.7 m before a 4K display that is 0.7 m wide."""

LARGE = 512 * 512
"""Pixels from which on a process of its own is worth its start."""


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
    pair = io.BytesIO()
    np.save(pair, np.stack([a, b]), allow_pickle=False)
    command = [sys.executable, "-c", "from harness.metrics.flip import answer; answer()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        found = subprocess.run(
            command, input=pair.getvalue(), env=environment, capture_output=True, check=True,
            start_new_session=True,
        )  # fmt: skip
        return float(found.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def answer() -> None:
    """Print the mean FLIP of the pair that stdin holds."""
    a, b = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    print(repr(_mean(a, b)))
