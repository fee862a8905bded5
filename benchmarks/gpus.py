"""Renders on one GPU against several of one host: seconds, and whether the images are identical.

    python benchmarks/gpus.py CASES --gpus 2 [--renders 32] [--base FOLDER]

Repeats the first case with other seeds. With and without the time until the first row, mostly loading.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

from harness.case import Base, Case, load_cases
from harness.runs.execute import run_cases
from harness.runs.gpus import visible_gpus
from harness.runs.plan import Planned, RunOptions, plan
from harness.runs.row import Row
from harness.runs.scoring_pool import default_workers


class Clock:
    """A progress that takes the time of the first row."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first = 0.0

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """Do nothing."""

    def told(self, line: str) -> None:
        """Print it."""
        print(line)

    def case_started(self, planned: Planned) -> None:
        """Do nothing."""

    def step_done(self, done: int, total: int) -> None:
        """Do nothing."""

    def case_done(self, row: Row) -> None:
        """Take the time, once."""
        self.first = self.first or time.perf_counter() - self.began


def seeded(case: Case, renders: int, options: RunOptions) -> list[Planned]:
    """Return ``case`` under ``renders`` seeds, as variants."""
    (item,) = plan([case], options, "cuda")
    assert item.request is not None
    return [
        dataclasses.replace(
            item,
            variant=f"seed+{number:02}" if number else item.variant,
            request=dataclasses.replace(item.request, seed=item.request.seed + number),
        )
        for number in range(renders)
    ]


def main() -> int:
    """Print one line for each number of GPUs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", type=Path)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--renders", type=int, default=32)
    parser.add_argument("--base", type=Path)
    options = parser.parse_args()
    case = next(case for case in load_cases([options.cases]) if case.incomparable is None)
    base = Base(path=str(options.base.resolve())) if options.base else None
    walls, images = [], []
    with tempfile.TemporaryDirectory() as work:
        for count in (1, options.gpus):
            names = tuple(visible_gpus()[:count])
            run = RunOptions(base=base, fresh=True, gpus=names, score_workers=default_workers("auto", count))
            clock = Clock()
            planned = seeded(case, options.renders, run)
            result = run_cases(
                [case], out=Path(work) / str(count), options=run, progress=clock, planned=planned
            )
            wall = time.perf_counter() - clock.began
            walls.append((wall, wall - clock.first))
            images.append([row.image_sha256 for row in result.rows])
            print(f"{count} GPUs: {wall:.1f} s, {wall - clock.first:.1f} s after the first row", flush=True)
    (one, one_rest), (many, many_rest) = walls
    print(f"{one / many:.2f}× in all, {one_rest / many_rest:.2f}× after the first row")
    print(f"images {'identical' if images[0] == images[1] else 'DIFFERENT'}")
    return 0 if images[0] == images[1] else 1


if __name__ == "__main__":
    raise SystemExit(main())
