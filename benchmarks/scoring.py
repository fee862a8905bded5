"""Time the scoring of one 1024² pair in two checkouts: OLD with SSIM and LPIPS, NEW with every metric too.

    python benchmarks/scoring.py OLD NEW [--size 1024] [--rounds 8] [--metrics all|none]

Each is a folder that holds ``harness/``. In turns, each in a process that stays, a re-run is written, hashed
and scored against a JPEG preview, maps and all, as a run does it. ``OMP_NUM_THREADS`` is the caller's. It
prints minimum and median of wall and processor time, and NEW's share of OLD.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def work(tree: Path, size: int, metrics: str) -> None:
    """Score once for each line that comes in; print the seconds of wall and of processor time."""
    sys.path.insert(0, str(tree))
    with tempfile.TemporaryDirectory() as folder:
        preview, rerun = pictures(size)
        Image.fromarray(preview).save(Path(folder, "preview.jpg"))
        score = scoring(Path(folder), metrics)
        for number, _ in enumerate(sys.stdin):
            image = np.roll(rerun, number, axis=0)  # nothing that was kept of the last one helps
            started = time.perf_counter(), processor_time()
            score(image)
            print(time.perf_counter() - started[0], processor_time() - started[1], flush=True)


def processor_time() -> float:
    """Return this process's seconds of processor time, with those of processes that it waited for."""
    return sum(os.times()[:4])


def scoring(run: Path, metrics: str) -> Callable[[np.ndarray], object]:
    """Return what scores an image in this tree; before issue 20 it had other names."""
    try:
        from harness.metrics.scores import METRIC_NAMES
        from harness.runs.scorer import Scorer, ScoringJob
        from harness.schema.result import Images
    except ImportError:
        from harness.runs.row import Images
        from harness.runs.score import Finished as ScoringJob
        from harness.runs.score import Scorer

        score = Scorer().gather
    else:
        score = Scorer(metrics=METRIC_NAMES if metrics == "all" else ()).run
    images = Images(preview="preview.jpg", rerun="rerun.png")
    return lambda image: score(ScoringJob(run, images, image, True))


def pictures(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth picture, and it with some noise."""
    draw = np.random.default_rng(0)
    smooth = gaussian_filter(draw.normal(size=(size, size, 3)), (4, 4, 0))
    levels = 255 * (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noise = 20 * gaussian_filter(draw.normal(size=levels.shape), (1, 1, 0))
    return levels.astype(np.uint8), np.clip(levels + noise, 0, 255).astype(np.uint8)


def main() -> None:
    """Let both take turns, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trees", nargs="+", type=Path, metavar="OLD NEW")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--metrics", choices=["all", "none"], default="all")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.trees[0].resolve(), given.size, given.metrics)
        return
    more = ["--size", str(given.size), "--metrics", given.metrics, "--worker"]
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, str(tree), *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree,
        )
        for tree in given.trees
    ]  # fmt: skip
    turns = [[turn(worker) for worker in workers] for _ in range(given.rounds + 1)][1:]
    for place, kind in enumerate(("wall", "processor")):
        for name, summary in (("minimum", min), ("median", statistics.median)):
            old, new = (summary(each[side][place] for each in turns) for side in (0, 1))
            print(f"{kind + ', ' + name:20} {old:6.2f} s {new:6.2f} s {new / old:6.2f}")
    for worker in workers:
        worker.communicate()


def turn(worker: subprocess.Popen[str]) -> tuple[float, float]:
    """Let a worker score once."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    wall, processor = map(float, worker.stdout.readline().split())
    return wall, processor


if __name__ == "__main__":
    main()
