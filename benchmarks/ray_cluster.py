"""A Ray cluster of two worker processes on CPUs, one killed mid-run, against one process: rows and images.

    pip install -e '.[ray]' && python benchmarks/ray_cluster.py [--cases 8]

Runs the genuine job on the tiny checkpoint. Exit code 1 where a row is missing, doubled or different. To let
the workers share no disk with the run, start them where its folder is an empty one (as root):

    mkdir /tmp/apart
    unshare -m sh -c 'mount -t tmpfs none /tmp/apart && ray start --head --num-cpus=2 --port=6400 --block' &
    TMPDIR=/tmp/apart python benchmarks/ray_cluster.py --address 127.0.0.1:6400
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from harness.importers.aitoolkit import import_job
from harness.runs.plan import Planned, RunOptions
from harness.runs.ray import Actor
from harness.runs.results import RunResult
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.schema.result import Row

JOB = Path(__file__).parent.parent / "harness" / "data" / "jobs" / "emoji_inkprint"
ONE = RunOptions(device="cpu", fresh=True)


class KillsOne:
    """A progress that kills the first actor's process after the second row."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.rows = 0
        self.killed: list[int] = []

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """Do nothing."""

    def told(self, line: str) -> None:
        """Do nothing."""

    def case_started(self, planned: Planned) -> None:
        """Do nothing."""

    def step_done(self, done: int, total: int) -> None:
        """Do nothing."""

    def case_done(self, row: Row) -> None:
        """Count, and kill once."""
        self.rows += 1
        if self.rows == 2 and self.actors and self.actors[0].facts is not None:
            self.killed.append(self.actors[0].facts.pid)
            os.kill(self.killed[0], signal.SIGKILL)


def run_killing(cases: list[Case], out: Path, address: str) -> tuple[RunResult, KillsOne]:
    """Run ``cases`` on two actors of the cluster at ``address``, and kill one of them."""
    killer = KillsOne()
    options = dataclasses.replace(ONE, ray=address, ray_workers=2)
    begin = Actor.__init__

    def remembered(self: Actor, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        killer.actors.append(self)

    Actor.__init__ = remembered  # type: ignore[method-assign]
    try:
        return run_cases(cases, out=out, options=options, progress=killer), killer
    finally:
        Actor.__init__ = begin  # type: ignore[method-assign]


def told(row: Row) -> Row:
    """Return a row without its times."""
    return row.model_copy(update={"seconds": {}})


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--address", default="local", help="of a Ray cluster; a new one here by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # what Ray gives an actor; with more, bits are others
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        cases = import_job(JOB, out=work / "cases").cases[: arguments.cases]
        started = time.perf_counter()
        many, killer = run_killing(cases, work / "ray", arguments.address)
        took = time.perf_counter() - started
        started = time.perf_counter()
        one = run_cases(cases, out=work / "one", options=ONE)
        alone = time.perf_counter() - started
        lines = len((work / "ray" / "results.jsonl").read_text().splitlines())
        same = sum(told(a) == told(b) for a, b in zip(many.rows, one.rows, strict=True))
    print(f"{'':<28} {'one process':>12} {'Ray, 2 actors, 1 killed':>24}")
    print(f"{'rows':<28} {len(one.rows):>12} {lines:>24}")
    print(f"{'seconds':<28} {alone:>12.1f} {took:>24.1f}")
    print(f"{'workers killed':<28} {0:>12} {len(killer.killed):>24}")
    print(f"{'rows as those of one process':<28} {'':>12} {same:>24}")
    return 0 if same == lines == len(cases) and killer.killed else 1


if __name__ == "__main__":
    raise SystemExit(main())
