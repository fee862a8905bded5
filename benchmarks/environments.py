"""The same cases rendered in several environments: how much do their scores differ, and how many bits agree?

    python benchmarks/environments.py RUN RUN [RUN...] [--out FILE]

Takes run folders, made by ``harness run`` over the same cases on several machines. First comes the worst that
each run scores against the previews, where those of bf16 previews in bf16 are what ``DEFAULT_TOLERANCE`` in
harness/judge.py has to let pass. Then two runs at a time are compared where a baseline of one would be held
against the other: where dtype and noise are the same. What is printed is the most that a case loses against
its preview from one to the other, whichever way round is worse: what ``OTHER_ENVIRONMENT`` has to allow.
A PSNR above 48 dB, infinite included, counts as 48. ``--out`` keeps the scores as JSON.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

from harness._util.atomic_files import write_text
from harness.judging.baseline import environment_key
from harness.metrics.scores import Scores, counted_psnr
from harness.runs.results import load_run
from harness.schema.result import Row


def scored(folder: Path) -> dict[str, Row]:
    """Return the rows of a run that have scores, by case."""
    return {row.case: row for row in load_run(folder).rows if row.scores is not None}


def kind(rows: dict[str, Row]) -> tuple[str, str]:
    """Return dtype and noise era of a run's renders."""
    (found,) = {(row.rendered.dtype, row.rendered.noise) for row in rows.values() if row.rendered}
    return found


def key(rows: dict[str, Row]) -> str:
    """Return the baseline key of a run's machine."""
    return environment_key(next(iter(rows.values())).environment)


def said(ssim: float, lpips: float, psnr: float) -> str:
    """Write three scores, or differences of scores."""
    return f"SSIM {ssim:.4f}, LPIPS {lpips:.4f}, PSNR {psnr:.1f} dB"


def worst(rows: dict[str, Row]) -> str:
    """Say the worst that a run scores, each metric by itself."""
    found = [row.scores for row in rows.values() if row.scores]
    return said(
        min(one.ssim for one in found),
        max(one.lpips for one in found),
        min(counted_psnr(one.psnr) for one in found),
    )


def compared(a: dict[str, Row], b: dict[str, Row]) -> str:
    """Say how far apart the scores of two runs are."""
    pairs = [(a[case], b[case]) for case in sorted(a.keys() & b.keys())]
    same = sum(one.image_sha256 == other.image_sha256 for one, other in pairs)
    scores = [(one.scores, other.scores) for one, other in pairs if one.scores and other.scores]
    most = said(
        max(abs(one.ssim - other.ssim) for one, other in scores),
        max(abs(one.lpips - other.lpips) for one, other in scores),
        max(abs(counted_psnr(one.psnr) - counted_psnr(other.psnr)) for one, other in scores),
    )
    return f"{len(pairs)} cases, {same} with the same bits; {most}"


def kept(rows: dict[str, Row]) -> dict[str, Any]:
    """Return what is worth keeping of a run: machine, torch, dtype, noise era, the scores of every case."""
    dtype, noise = kind(rows)
    torch = next(iter(rows.values())).environment["packages"]["torch"]
    scores = {case: _rounded(row.scores) for case, row in sorted(rows.items()) if row.scores}
    return {"environment": key(rows), "torch": torch, "dtype": dtype, "noise": noise, "scores": scores}


def _rounded(scores: Scores) -> dict[str, float | None]:
    found = {"ssim": scores.ssim, "lpips": scores.lpips, "psnr": scores.psnr}
    return {name: None if value is None else round(value, 6) for name, value in found.items()}


def main() -> None:
    """Print a line for every run and for every pair of environments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="write the scores there")
    options = parser.parse_args()
    runs = {folder.name: scored(folder) for folder in options.runs}
    for name, rows in runs.items():
        print(f"{name}: {key(rows)}, {' '.join(kind(rows))} noise, {len(rows)} cases, worst {worst(rows)}")
    for (one, a), (other, b) in combinations(runs.items(), 2):
        if kind(a) == kind(b):
            print(f"{one} and {other}: {compared(a, b)}")
    if options.out:
        content = {name: kept(rows) for name, rows in runs.items()}
        write_text(options.out, json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
