"""Diagnose a preview of each genuine job, then re-run every preview of the job with what was named.

OMP_NUM_THREADS=1 python benchmarks/genuine_jobs.py
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

from harness.diagnosis.diagnose import Diagnosis, diagnose
from harness.diagnosis.sentences import sentences
from harness.diagnosis.trials import Settings, TrialRenderer
from harness.importers.aitoolkit import import_job
from harness.metrics.pixels import psnr
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.sweeps.axis import Context

ROOT = Path(__file__).parent.parent
OLDER = ROOT / "tests" / "data" / "jobs"
JOBS = {
    "inkprint": (ROOT / "harness" / "data" / "jobs" / "emoji_inkprint", 200),
    "simple": (OLDER / "tiny_flex2_simple_v1", 20),
    "q8": (OLDER / "tiny_flex2_q8", 20),
    "legacy_jpg_q8": (OLDER / "legacy_jpg_q8", 20),
}
"""Job folders, and the training step whose first preview is diagnosed."""


def main() -> None:
    """Print for each job what was named, and how near its previews come with it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", nargs="*", help=", ".join(JOBS))
    chosen = parser.parse_args()
    renderer = ReferenceRenderer(device="cpu")
    for name in chosen.jobs or JOBS:
        folder = Path(tempfile.mkdtemp()) / name
        job, step = JOBS[name]
        cases = [case for case in import_job(job, out=folder).cases if case.incomparable is None]
        one = next(case for case in cases if (case.preview.step, case.preview.index) == (step, 0))
        started = time.perf_counter()
        found = diagnose(one, renderer=renderer)
        print(f"\n== {name}, {one.id} ({time.perf_counter() - started:.0f} s)")
        print("\n".join(sentences(found)), flush=True)
        settings = named(found)
        decibels = {case.id: decibels_of(case, settings, renderer) for case in cases}
        print(f"all {len(cases)} previews with {settings or 'their own settings'}: ", end="")
        print(f"{min(decibels.values()):.1f} to {max(decibels.values()):.1f} dB, codec-matched", flush=True)


def named(found: Diagnosis) -> Settings:
    """Return what explains the preview, as settings."""
    return {cause.axis: cause.value for cause in found.causes} if found.explained else {}


def decibels_of(case: Case, settings: Settings, renderer: ReferenceRenderer) -> float:
    """Return the codec-matched PSNR of ``case`` re-run with ``settings``, dB."""
    trials = TrialRenderer(Context(case, request_of(case, RunOptions(), "cpu"), "cpu"), renderer)
    found = psnr(trials.preview, trials.matched(trials.trial(settings).image))
    return math.inf if found is None else found


if __name__ == "__main__":
    main()
