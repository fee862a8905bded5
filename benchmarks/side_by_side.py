"""Time two checkouts against each other, turn by turn: help page, collection, demo, and a run of one case.

    python benchmarks/side_by_side.py OLD NEW [--rounds 5]

Each is a folder that holds ``harness/``. It prints medians of wall time, and NEW's share of OLD.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from collection import copy_case

COUNT = 5000
HARNESS = ["-m", "harness"]
PLUGIN = "harness.pytest_plugin"
COLLECT = [
    "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
    "-p", "no:anyio", "-p", "no:timeout", "cases",
]  # fmt: skip


def main() -> None:
    """Print one line for each thing that was timed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trees", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    trees = [tree.resolve() for tree in given.trees]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_cases(work, trees[0])
        for name, command in COMMANDS.items():
            compare(name, [partial(seconds, tree, work, command) for tree in trees], given.rounds)


def compare(name: str, timed: list[Callable[[], float]], rounds: int) -> None:
    """Time both alternately, after a round that counts for nothing, and print their medians."""
    found: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for times, measure in zip(found, timed, strict=True):
            taken = measure()
            if turn:
                times.append(taken)
    old, new = map(statistics.median, found)
    print(f"{name:24} {old:7.2f} s  {new:7.2f} s  {new / old:.2f}", flush=True)


def seconds(tree: Path, work: Path, command: list[str]) -> float:
    """Run Python with ``command`` on the sources in ``tree``; return its wall time in seconds."""
    for left in ("run", "demo", "demo-cases"):
        shutil.rmtree(work / left, ignore_errors=True)
    installed = importlib.util.find_spec("flex2_harness") or shutil.which("harness")
    plugin = [] if installed or command[1] != "pytest" else ["-p", PLUGIN]
    environment = {"PYTHONPATH": os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *command, *plugin],
        cwd=work,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def write_cases(work: Path, old: Path) -> None:
    """Write ``COUNT`` cases to collect, and a job to run, as ``old`` writes them: both builds read these."""
    job = old / "harness" / "data" / "jobs" / "emoji_inkprint"
    seconds(old, work, [*HARNESS, "import", str(job), "--out", "one", "--steps", "last"])
    copy_case(next((work / "one").glob("*.case.yaml")), work / "cases", COUNT)


COMMANDS = {
    "harness --help": [*HARNESS, "--help"],
    f"collect {COUNT} cases": COLLECT,
    "harness demo": [*HARNESS, "demo", "--out", "demo", "--cases", "demo-cases"],
    "harness run, one case": [*HARNESS, "run", "one", "--limit", "1", "--device", "cpu", "--out", "run"],
}

if __name__ == "__main__":
    main()
