"""One worker against two: the same cases by one pytest process, then by two xdist workers with a GPU each.

    python benchmarks/two_gpus.py CASES_FOLDER WORK_FOLDER [--copies 12] [--cpu]

Every case is copied with other seeds, so that rendering outweighs loading the weights: two GPUs save nothing
of that. The first run accepts what it renders, the second is judged by it: two workers must give the same
bits. The aim is a wall time of at most 0.55 of one GPU's. ``--cpu`` tries the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness.case import SUFFIX, load_cases, save_case
from harness.environment import environment
from harness.runs.results import load_run
from harness.runs.row import Row


def main() -> None:
    """Copy the cases, run them by one process and by two, print times and whether the bits agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--copies", type=int, default=12)
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()

    count = copy_cases(given.cases, given.work / "cases", given.copies)
    facts = environment("cpu" if given.cpu else "cuda")
    machine = facts["cpu"] if given.cpu else facts["gpu"]["name"]
    print(f"{count} cases, {machine}, torch {facts['packages']['torch']}")
    device = [] if given.cpu else ["--gpu"]
    one = timed(given.work, "one", [*device, "--update-baselines", "--harness-reason=one worker"])
    two = timed(given.work, "two", [*device, "-n", "2", "--dist", "loadgroup"])
    print(f"two workers take {two / one:.2f} of one worker's time")

    before, after = rows(given.work / "one"), rows(given.work / "two")
    same = sum(before[case].image_sha256 == row.image_sha256 for case, row in after.items())
    known = sum(row.baseline is not None and row.baseline.identical for row in after.values())
    print(f"{same} of {len(before)} images have the same bits, {known} are bit-equal to their baselines")
    sys.exit(0 if same == known == len(before) == count else 1)


def copy_cases(source: Path, target: Path, copies: int) -> int:
    """Write every case ``copies`` times, each with a seed of its own; return how many there are."""
    shutil.copytree(source, target)
    cases = load_cases([target])
    for case in cases:
        for copy in range(1, copies):
            settings = case.settings.model_copy(update={"seed": case.settings.seed + 1000 * copy})
            name = f"{case.id.rpartition('/')[2]}_copy{copy}"
            twin = case.model_copy(update={"id": f"{case.id}_copy{copy}", "settings": settings})
            save_case(twin, case.folder / f"{name}{SUFFIX}")
    return len(cases) * copies


def timed(work: Path, name: str, options: list[str]) -> float:
    """Run pytest over the cases and return its wall time in seconds."""
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-c", os.devnull,
        "--rootdir", str(work), str(work / "cases"), f"--harness-baselines={work / 'baselines'}",
        f"--harness-results={work / name}", "--no-harness-report", *options,
    ]  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    print(f"{name}: {seconds:.1f} s, exit code {done.returncode}, {done.stdout.splitlines()[-1:]}")
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        sys.exit(done.returncode)
    return seconds


def rows(run: Path) -> dict[str, Row]:
    """Return the rows of a run by case."""
    return {row.case: row for row in load_run(run).rows}


if __name__ == "__main__":
    main()
