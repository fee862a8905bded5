"""Which renders tell the seed of a preview: short ones, of a quarter of the steps, or early stops?

    python benchmarks/other_noise.py [--previews 14]

Previews of the shipped job are rendered with another seed; every seed that a diagnosis tries is rendered both
ways, and compared with the preview by distance and by coarse correlation. Prints at which place the right one
is. About 4 minutes of one core.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from harness.diagnosis.composition import correlation  # noqa: E402
from harness.diagnosis.trials import MIN_STEPS, SHORTER, rms  # noqa: E402
from harness.pipeline.renderer import ReferenceRenderer  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.schema.case import Case  # noqa: E402
from harness.sweeps.axes import AXES  # noqa: E402
from harness.sweeps.axis import Context  # noqa: E402
from tests.diagnosis.truths import SIZES, STEPS, base_cases, changed  # noqa: E402

JOB = ROOT / "harness" / "data" / "jobs" / "emoji_inkprint"
EARLY = 3
"""Steps of an early stop."""


def main() -> None:
    """Render, rank and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--previews", type=int, default=14)
    chosen = parser.parse_args()
    cases = base_cases(JOB, Path(tempfile.mkdtemp()) / "cases")
    renderer, draw = ReferenceRenderer(device="cpu"), random.Random("noise1")
    places: dict[str, list[int]] = defaultdict(list)
    for _ in range(chosen.previews):
        width, height = draw.choice(SIZES)
        settings = {"width": width, "height": height, "sample_steps": draw.choice(STEPS)}
        case = changed(draw.choice(cases), **settings, dtype=draw.choice(["bf16", "fp32"]))
        for name, place in ranked(case, renderer, draw).items():
            places[name].append(place)
    for name, found in places.items():
        print(f"{name:28s} first in {found.count(1)} of {len(found)}; places {found}")


def ranked(case: Case, renderer: ReferenceRenderer, draw: random.Random) -> dict[str, int]:
    """Return at which place, from 1, each way of comparing puts the seed of a preview of ``case``."""
    context = Context(case, request_of(case, RunOptions(), "cpu"), "cpu")
    own = context.request
    seeds = [int(seed) for seed in AXES["seed"].candidates(context) if seed != own.seed]
    right = draw.choice(seeds)
    preview = renderer.render(replace(own, seed=right)).image
    ways = {
        "short render": replace(own, sample_steps=max(MIN_STEPS, own.sample_steps // SHORTER)),
        "early stop": replace(own, stop_after=EARLY),
    }
    found = {}
    for name, request in ways.items():
        made = {seed: renderer.render(replace(request, seed=seed)).image for seed in seeds}
        far = {seed: rms(preview, image) for seed, image in made.items()}
        unlike = {seed: -correlation(preview, image) for seed, image in made.items()}
        found[f"{name}, distance"] = sorted(seeds, key=far.__getitem__).index(right) + 1
        found[f"{name}, correlation"] = sorted(seeds, key=unlike.__getitem__).index(right) + 1
    return found


if __name__ == "__main__":
    main()
