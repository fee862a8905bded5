"""Time the load of a base in two checkouts against each other, turn by turn in two processes that stay.

    python benchmarks/load.py OLD NEW [--base FOLDER] [--rounds 60]
    python benchmarks/load.py OLD NEW --profile    where both spend it

Each is a folder that holds ``harness/``. Both load the same base: NEW's embedded one, or FOLDER. In each
round both load once, in turns, each while the other process waits. It prints minimum and median of processor
time (user and system) and of wall time, and NEW's share of OLD.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WARM_UP = 3
"""Turns that count for nothing."""


def main() -> None:
    """Print one line for each kind of time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trees", nargs="+", type=Path, metavar="OLD NEW")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    trees = [tree.resolve() for tree in given.trees]
    base = given.base or trees[-1] / "harness" / "data" / "checkpoints" / "tiny-flex2-emoji"
    if given.worker:
        work(trees[0], base, profile=given.profile)
        return
    workers = [start(tree, base, profile=given.profile) for tree in trees]
    if given.profile:
        for worker in workers:
            print(worker.communicate()[0])
        return
    times = [
        [turn(worker) for worker in ordered(workers, round_)] for round_ in range(WARM_UP + given.rounds)
    ]
    rounds = [ordered(pair, round_) for round_, pair in enumerate(times)][WARM_UP:]
    print(f"{base.name}, {given.rounds} rounds, ms")
    for place, kind in enumerate(("processor", "wall")):
        for name, summary in (("minimum", min), ("median", statistics.median)):
            old, new = (1000 * summary(pair[side][place] for pair in rounds) for side in (0, 1))
            print(f"{kind + ', ' + name:20} {old:8.1f} {new:8.1f} {new / old:6.3f}")
    shares = [pair[1][0] / pair[0][0] for pair in rounds]
    print(f"median of the rounds' shares of processor time: {statistics.median(shares):.3f}")
    for worker in workers:
        worker.communicate()


def ordered(pair: list[Any], round_: int) -> list[Any]:
    """Return both, the second first in odd rounds."""
    return pair[::-1] if round_ % 2 else pair


def start(tree: Path, base: Path, *, profile: bool) -> subprocess.Popen[str]:
    """Start the process of one checkout, and wait until it has imported what it needs."""
    command = [sys.executable, __file__, str(tree), "--worker", "--base", str(base)]
    worker = subprocess.Popen(
        [*command, *(["--profile"] if profile else [])],
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def turn(worker: subprocess.Popen[str]) -> tuple[float, float]:
    """Let a process load once; return the seconds of processor and wall."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("load\n")
    worker.stdin.flush()
    spent, wall = map(float, worker.stdout.readline().split())
    return spent, wall


def work(tree: Path, base: Path, *, profile: bool) -> None:
    """Load ``base`` whenever a line comes in, and say how long it took."""
    load = loader(tree, base)
    print("ready", flush=True)
    if profile:
        show_profile(load)
        return
    for _line in sys.stdin:
        wall, spent = time.perf_counter(), time.process_time()
        load()
        print(time.process_time() - spent, time.perf_counter() - wall, flush=True)


def loader(tree: Path, base: Path) -> Any:
    """Return a function that loads ``base`` as the checkout ``tree`` does; older ones have other rooms."""
    sys.path.insert(0, str(tree))
    rooms = (tree / "harness" / "pipeline").is_dir()
    reference = "harness.pipeline" if rooms else "harness.reference"
    schema = "harness.schema" if rooms else "harness"
    names = {
        "checkpoint": reference,
        "load": reference,
        "spec": schema if rooms else reference,
        "case": schema,
    }
    found = {name: importlib.import_module(f"{package}.{name}") for name, package in names.items()}
    flex2 = found["spec"].FLEX2
    checkpoint = found["checkpoint"].find_checkpoint(found["case"].Base(path=str(base)), flex2)
    options = {"code": "builtin", "dtype": "bf16", "device": "cpu", "offload": "none"}
    return lambda: found["load"].load_pipeline(checkpoint, flex2, trust_remote_code=False, **options)


def show_profile(load: Any) -> None:
    """Print what ten loads spend, by function."""
    import cProfile
    import pstats

    load()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(10):
        load()
    profile.disable()
    pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    main()
