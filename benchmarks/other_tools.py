"""Compare the pictures of other tools in tests/data with their previews, against what they were made with.

    python benchmarks/other_tools.py [--blind] [NAME...]

One line a picture: whether all differing settings were named and no other, how near its settings rendered
here come to it, and what that cost; then the table of docs/compare.md. ``--blind`` takes the metadata away
first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import harness
from harness.comparison.compare import Comparison
from harness.importers.aitoolkit import import_job
from harness.runs.plan import RunOptions
from harness.schema.case import Case

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "tests/data/inference_images"
JOB = ROOT / "harness/data/jobs/emoji_inkprint"


@dataclass(frozen=True)
class Outcome:
    """One picture's comparison beside its truth."""

    truth: dict[str, Any]
    found: Comparison
    seconds: float
    stated: bool

    @property
    def right(self) -> bool:
        """Whether all settings that differ are named, and no other."""
        named = {row.setting for row in self.found.differences}
        return named == {each["axis"] for each in self.truth["differs_from_preview"]}

    def line(self) -> str:
        """Return the picture's line of the table."""
        proof, truth = self.found.proof, self.truth
        names = ", ".join(row.setting for row in self.found.differences) or "-"
        if proof is None:
            return f"{truth['file']:20} {truth['class']}  {self.found.incomparable}"
        near = "identical" if proof.psnr is None else f"{proof.psnr:.1f} dB"
        return (
            f"{truth['file']:20} {truth['class']}  {'right' if self.right else 'WRONG':6} "
            f"{self.found.dialect:10}{near:>10} {proof.renders:>4} {proof.spent:>6.1f} {self.seconds:>5.0f} s"
            f"  {names}"
        )


def main() -> None:
    """Compare every picture and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blind", action="store_true", help="take metadata and requests away")
    parser.add_argument("names", nargs="*", help="these pictures alone, by the beginning of their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        cases = import_job(JOB, out=Path(work) / "cases").cases
        by_place = {(case.preview.step, case.preview.index): case for case in cases}
        truths = json.loads((IMAGES / "truths.json").read_text())["images"]
        wanted = tuple(options.names)
        print(
            "picture              class named  dialect         near  renders spent  time  differing settings"
        )
        done = []
        for truth in truths:
            if not wanted or truth["file"].startswith(wanted):
                case = by_place[truth["case"]["step"], truth["case"]["index"]]
                done.append(_outcome(case, truth, Path(work) if options.blind else None))
                print(done[-1].line(), flush=True)
        _summary(done)
        if not wanted:
            print(f"static answer, cold start: {_cold_start(by_place[300, 0]):.2f} s (best of 5)")


def _outcome(case: Case, truth: dict[str, Any], blind: Path | None) -> Outcome:
    image = IMAGES / truth["file"]
    requests = [IMAGES / truth["request"]] if "request" in truth and blind is None else []
    stated = blind is None and (truth["metadata"] != "none" or bool(requests))
    if blind is not None and image.suffix == ".png":
        with Image.open(image) as picture:
            image = blind / image.name
            picture.info.clear()
            picture.save(image)
    started = time.perf_counter()
    found = harness.compare(case, image, request=requests, options=RunOptions(device="cpu"))
    return Outcome(truth, found, time.perf_counter() - started, stated)


def _summary(done: list[Outcome]) -> None:
    compared = [each for each in done if each.found.proof is not None]
    stated = [each for each in compared if each.stated]
    single = [each for each in compared if not each.stated and len(each.truth["differs_from_preview"]) == 1]
    for name, group in (("with metadata", stated), ("without, one difference", single)):
        if group:
            print(f"{name}: {sum(each.right for each in group)} of {len(group)} named right")
    for kind, names in (("ComfyUI", "A"), ("Forge", "C"), ("scripts and server", "BD")):
        near = [
            each.found.proof.psnr for each in compared if each.truth["class"] in names and each.found.proof
        ]
        if near:
            finite = sorted(psnr for psnr in near if psnr is not None)
            least = f"least {finite[0]:.1f} dB, median {statistics.median(finite):.1f} dB" if finite else ""
            forty = sum(psnr is None or psnr >= 40 for psnr in near)
            print(f"{kind}: {near.count(None)} of {len(near)} identical, {forty} at 40 dB or nearer; {least}")
    if compared:
        renders = [each.found.proof.spent for each in compared if each.found.proof]
        print(f"renders: median {statistics.median(renders):.1f}, most {max(renders):.1f}")


def _cold_start(case: Case) -> float:
    image = IMAGES / "inkprint_00002_.png"
    command = [sys.executable, "-m", "harness", "compare", str(case.file), str(image), "--static"]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
