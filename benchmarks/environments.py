"""The same cases rendered in several environments: how much do their scores differ, and how many bits agree?

    python benchmarks/environments.py RUN RUN [RUN...]

Takes run folders, made by ``harness run`` over the same cases on several machines. Two of them are compared
where a baseline of one would be held against the other: where dtype and noise are the same. What is printed
is the most that a case loses against its preview from one to the other, whichever way round is worse: what
``OTHER_ENVIRONMENT`` in harness/judge.py has to allow. A PSNR above 48 dB, infinite included, counts as 48.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

from harness.baselines.model import environment_key
from harness.runs.results import load_run
from harness.runs.row import Row
from harness.scoring.scores import counted_psnr


def scored(folder: Path) -> dict[str, Row]:
    """Return the rows of a run that have scores, by case."""
    return {row.case: row for row in load_run(folder).rows if row.scores is not None}


def kind(rows: dict[str, Row]) -> tuple[str, str]:
    """Return dtype and noise era of a run's renders."""
    (found,) = {(row.rendered.dtype, row.rendered.noise) for row in rows.values() if row.rendered}
    return found


def compared(a: dict[str, Row], b: dict[str, Row]) -> str:
    """Say how far apart the scores of two runs are."""
    pairs = [(a[case], b[case]) for case in sorted(a.keys() & b.keys())]
    same = sum(one.image_sha256 == other.image_sha256 for one, other in pairs)
    scores = [(one.scores, other.scores) for one, other in pairs]
    ssim = max(abs(one.ssim - other.ssim) for one, other in scores if one and other)
    lpips = max(abs(one.lpips - other.lpips) for one, other in scores if one and other)
    psnr = max(
        abs(counted_psnr(one.psnr) - counted_psnr(other.psnr)) for one, other in scores if one and other
    )
    said = f"SSIM {ssim:.4f}, LPIPS {lpips:.4f}, PSNR {psnr:.1f} dB"
    return f"{len(pairs)} cases, {same} with the same bits; {said}"


def main() -> None:
    """Print a line for every pair of environments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    runs = {folder.name: scored(folder) for folder in parser.parse_args().runs}
    for name, rows in runs.items():
        row = next(iter(rows.values()))
        ssim = [row.scores.ssim for row in rows.values() if row.scores]
        print(f"{name}: {environment_key(row.environment)}, {' '.join(kind(rows))} noise, {len(rows)} cases, "
              f"SSIM {min(ssim):.4f} to {max(ssim):.4f}")  # fmt: skip
    for (one, a), (other, b) in combinations(runs.items(), 2):
        if kind(a) == kind(b):
            print(f"{one} and {other}: {compared(a, b)}")


if __name__ == "__main__":
    main()
