"""One worker against two: the same cases by one pytest process, then by two xdist workers with a GPU each.

    python benchmarks/two_gpus.py CASES_FOLDER WORK_FOLDER [--copies 12] [--only one|two] [--cpu]

Every case is copied with other seeds, so that rendering outweighs loading the weights: two GPUs save nothing
of that. The first run accepts what it renders, the second is judged by it: two workers must give the same
bits. The aim is a wall time of at most 0.55 of one GPU's; where every worker has begun, as many rows in half
the time. ``--only`` makes one of the runs, the second after the first. ``--cpu`` tries the script where there
is no GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness.runs.environment import environment
from harness.runs.folder import RESULTS
from harness.runs.results import load_run
from harness.schema.case import SUFFIX, load_cases, save_case
from harness.schema.result import Row

FEW = 32


def main() -> None:
    """Copy the cases, run them by one process and by two, print times and whether the bits agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--copies", type=int, default=12)
    parser.add_argument("--only", choices=("one", "two"))
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()

    facts = environment("cpu" if given.cpu else "cuda")
    machine = facts["cpu"] if given.cpu else facts["gpu"]["name"]
    print(f"{machine}, torch {facts['packages']['torch']}", flush=True)
    device = [] if given.cpu else ["--gpu"]
    if given.only != "two":
        print(f"{copy_cases(given.cases, given.work / 'cases', given.copies)} cases", flush=True)
        timed(given.work, "one", [*device, "--harness-update-baselines", "--harness-reason=one worker"])
    if given.only != "one":
        timed(given.work, "two", [*device, "-n", "2", "--dist", "loadgroup"])
        sys.exit(compare(given.work))


def compare(work: Path) -> int:
    """Print how the two runs differ in time and bits; return 1 where a bit differs."""
    one, two = (json.loads((work / f"{name}.json").read_text()) for name in ("one", "two"))
    print(f"two workers take {two['seconds'] / one['seconds']:.3f} of one worker's time")
    faster = rows_a_second(two) / rows_a_second(one)
    print(
        f"once every worker has begun: {faster:.2f} times as many rows a second, "
        f"the first {FEW} in {first_rows(two):.1f} s against {first_rows(one):.1f} s"
    )
    before, after = rows(work / "one"), rows(work / "two")
    same = sum(before[case].image_sha256 == row.image_sha256 for case, row in after.items())
    known = sum(row.baseline is not None and row.baseline.identical for row in after.values())
    for name, found in (("one", before), ("two", after)):
        rendering = sum(row.seconds["render"] for row in found.values())
        scoring = sum(row.seconds["score"] for row in found.values())
        proving = sum(row.seconds["prove"] for row in found.values())
        print(
            f"{name}: {rendering:.1f} s of rendering, of it {proving:.1f} s of compiling and proving, "
            f"and {scoring:.1f} s of scoring, all workers together"
        )
    print(f"{same} of {len(before)} images have the same bits, {known} are bit-equal to their baselines")
    return 0 if same == known == len(before) == len(after) else 1


def rows_a_second(run: dict[str, Any]) -> float:
    """Return rows a second since every worker has stored one."""
    begun, rows = run["begun"], run["rows"]
    return float((len(rows) - begun) / (rows[-1] - rows[begun - 1]))


def first_rows(run: dict[str, Any]) -> float:
    """Return the seconds that ``FEW`` rows take once every worker has stored one."""
    begun, rows = run["begun"], run["rows"]
    return float(rows[min(begun - 1 + FEW, len(rows) - 1)] - rows[begun - 1])


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


def timed(work: Path, name: str, options: list[str]) -> None:
    """Run pytest over the cases; keep its wall time and when each row was stored, in seconds."""
    installed = importlib.metadata.entry_points(group="pytest11", name="harness")
    plugin = [] if installed else ["-p", "harness.pytest_plugin"]
    command = [
        sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", "-q", "-c", os.devnull,
        "--rootdir", str(work), str(work / "cases"), f"--harness-baselines={work / 'baselines'}",
        f"--harness-results={work / name}", "--no-harness-report", *options,
    ]  # fmt: skip
    started = time.perf_counter()
    file = work / f"{name}.txt"
    stored: list[float] = []
    workers = begun = 0
    with file.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as done:
        while done.poll() is None:
            time.sleep(0.05)
            found = rows_on_disk(work, name)
            stored += [time.perf_counter() - started] * (sum(found) - len(stored))
            if len(found) > workers:
                workers, begun = len(found), len(stored)
    seconds = time.perf_counter() - started
    load = os.getloadavg()[0]
    print(
        f"{name}: {seconds:.1f} s, exit code {done.returncode}, {file.read_text().splitlines()[-1:]}, "
        f"load average at its end {load:.1f}",
        flush=True,
    )
    if done.returncode:
        print(file.read_text(), file=sys.stderr)
        sys.exit(done.returncode)
    (work / f"{name}.json").write_text(json.dumps({"seconds": seconds, "begun": begun, "rows": stored}))


def rows_on_disk(work: Path, name: str) -> list[int]:
    """Return how many rows each worker has stored so far, of those that have stored some."""
    folders = list(work.glob(f".{name}.*")) or [work / name]
    files = [folder / RESULTS for folder in folders]
    counts = [file.read_bytes().count(b"\n") for file in files if file.exists()]
    return [count for count in counts if count]


def rows(run: Path) -> dict[str, Row]:
    """Return the rows of a run by case."""
    return {row.case: row for row in load_run(run).rows}


if __name__ == "__main__":
    main()
