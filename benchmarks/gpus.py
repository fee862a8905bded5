"""Renders on one GPU against several of one host: seconds, and whether the images are identical.

    python benchmarks/gpus.py CASES --gpus 2 [--renders 32] [--steps 20] [--base FOLDER]

Repeats the first case with other seeds. Loading and compiling take as long on one GPU as on several: so rates
are given for the whole run, and from the row on by which as many rows are stored as there are GPUs.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from functools import partial
from pathlib import Path

from clock import Clock

from harness.runs.gpus import visible_gpus
from harness.runs.plan import Planned, RunOptions, plan
from harness.runs.run import run_cases
from harness.schema.base import Base
from harness.schema.case import Case, load_cases


def rates(rows: list[float], gpus: int) -> tuple[float, float]:
    """Return rows a second of the whole run, and after the first row of each of ``gpus`` GPUs."""
    warm, last = rows[gpus - 1], rows[-1]
    return len(rows) / last, (len(rows) - gpus) / (last - warm)


def seeded(renders: int, steps: int | None, cases: list[Case], run: RunOptions, device: str) -> list[Planned]:
    """Plan one case under ``renders`` seeds, as variants."""
    (item,) = plan(cases, run, device)
    assert item.request is not None
    first = dataclasses.replace(item.request, sample_steps=steps or item.request.sample_steps)
    return [
        dataclasses.replace(
            item,
            variant=f"seed+{number:02}" if number else item.variant,
            request=dataclasses.replace(first, seed=first.seed + number),
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
    parser.add_argument("--steps", type=int, help="denoising steps; as recorded unless given")
    parser.add_argument("--base", type=Path)
    options = parser.parse_args()
    case = next(case for case in load_cases([options.cases]) if case.incomparable is None)
    base = Base(path=str(options.base.resolve())) if options.base else None
    speeds, images = [], []
    with tempfile.TemporaryDirectory() as work:
        for count in (1, options.gpus):
            names = tuple(visible_gpus()[:count])
            run = RunOptions(base=base, fresh=True, gpus=names, score_workers=None)
            clock = Clock()
            planner = partial(seeded, options.renders, options.steps)
            result = run_cases(
                [case], out=Path(work) / str(count), options=run, progress=clock, planner=planner
            )
            speeds.append(rates(clock.rows, count))
            images.append([row.image_sha256 for row in result.rows])
            engines = sorted({row.rendered.engine if row.rendered else "none" for row in result.rows})
            size = f"{case.settings.width}×{case.settings.height}"
            print(
                f"{count} GPUs, {len(result.rows)} renders of {size}, engine {', '.join(engines)}: "
                f"{clock.rows[-1]:.1f} s in all; {count} rows after {clock.rows[count - 1]:.1f} s, "
                f"from there on {1 / speeds[-1][1]:.2f} s a render",
                flush=True,
            )
    (one, one_warm), (many, many_warm) = speeds
    print(f"{many / one:.2f}× in all, {many_warm / one_warm:.2f}× once every GPU has begun")
    print(f"images {'identical' if images[0] == images[1] else 'DIFFERENT'}")
    return 0 if images[0] == images[1] else 1


if __name__ == "__main__":
    raise SystemExit(main())
