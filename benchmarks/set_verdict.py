"""Equally valid re-runs and mildly wrong ones of a job: what do single verdicts and the set verdict say?

    python benchmarks/set_verdict.py FOLDER [--jobs 2] [--processor native avx2] [--seconds 600]

Renders the shipped job's 16 previews under controls and keeps the renders in FOLDER; repeated, it goes on
there. ``avx2`` stands for another processor: torch and oneDNN without AVX-512. A run is all 16 previews under
one control; where a control needs a LoRA, the step-0 previews are rendered plainly. The bounds are what
``harness calibrate`` measures on that processor, without the control that is judged. Shares of smaller sets:
500 draws of 10 previews each, seed 1. What was not rendered in time is not judged.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from set_controls import CALIBRATED, MILD, NAMED, NOISE, PROCESSORS, cases_in, image_of, render_all  # noqa: E402

from harness.judging.set_verdict import SetVerdict, judge_sets  # noqa: E402
from harness.judging.tolerance_file import Measured, worst_noise  # noqa: E402
from harness.judging.verdict import DEFAULT_TOLERANCE, judge  # noqa: E402
from harness.metrics.codec import Codec  # noqa: E402
from harness.metrics.images import load_rgb  # noqa: E402
from harness.metrics.lpips import Lpips  # noqa: E402
from harness.metrics.score_pair import score_images  # noqa: E402
from harness.metrics.scores import Scores  # noqa: E402
from harness.schema.case import Case  # noqa: E402
from harness.schema.metric_limits import Tolerance  # noqa: E402
from harness.schema.result import Images, Row, Verdict  # noqa: E402

DRAWS = 500
Scored = dict[tuple[str, str, str], Scores]
"""Codec-matched scores by processor, control and case."""


def score_case(folder: Path, case: Case, processors: list[str]) -> Scored:
    """Score every render of a case against its preview."""
    lpips, codec, preview = Lpips(), Codec.of(case.preview_path), load_rgb(case.preview_path)
    scored = {}
    for processor in processors:
        for control in (*NOISE, *MILD):
            if (file := image_of(folder, processor, control, case)).exists():
                image = codec.apply(load_rgb(file))
                scored[processor, control, case.id] = score_images(preview, image, lpips)
    return scored


def score_all(folder: Path, cases: list[Case], processors: list[str], jobs: int) -> Scored:
    """Score every render, case by case in ``jobs`` processes."""
    count = len(cases)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(score_case, [folder] * count, cases, [processors] * count)
        return {key: scores for part in found for key, scores in part.items()}


@dataclass(frozen=True)
class Judge:
    """Judges runs by what the calibrated controls of the same processor say.

    Attributes:
        excluded: the control that is judged, which must not set its own bound.
    """

    cases: list[Case]
    scored: Scored
    processor: str
    excluded: str

    def tolerance(self, case: Case) -> Tolerance:
        """Return the case's limits and noise bound."""
        noise = [self._measured(name, case) for name in CALIBRATED if name != self.excluded]
        return Tolerance(**DEFAULT_TOLERANCE.model_dump() | {"noise_ssim": worst_noise(noise)})

    def _measured(self, name: str, case: Case) -> Measured:
        scores = self.scored[self.processor, name, case.id]
        return Measured(control=name, kind="noise", ssim=scores.ssim, lpips=scores.lpips, psnr=scores.psnr)

    def rows(self) -> list[Row]:
        """Return one run: every case under the control."""
        return [self._row(case, self.scored[self.processor, self.excluded, case.id]) for case in self.cases]

    def _row(self, case: Case, scores: Scores) -> Row:
        tolerance = self.tolerance(case)
        verdict, reason = judge(scores, tolerance)
        return Row(
            case=case.id, verdict=verdict, reason=reason, settings={}, environment={}, tolerance=tolerance,
            images=Images(preview="preview.png"), description=case, key="", **scores.model_dump(),
        )  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What the single verdicts, the set verdict and the verdicts of smaller sets say of one run."""

    control: str
    processor: str
    alone: int
    verdict: SetVerdict
    sets_of_ten: int

    def __str__(self) -> str:
        found = self.verdict
        return (
            f"{self.control:<28}{self.processor:<10}{f'{self.alone} of {found.cases}':>14}"
            f"{found.worse:>5}/{found.cases}{found.p_value:>9.4f}  {'drift' if found.drifts else 'match':<7}"
            f"{self.sets_of_ten / DRAWS:>9.1%}"
        )


def drifting_sets(rows: list[Row], size: int = 10) -> int:
    """Return how many of ``DRAWS`` random sets of ``size`` rows drift; of all rows where there are fewer."""
    draw, size = random.Random(1), min(size, len(rows))
    return sum(judge_sets(draw.sample(rows, size))[0].drifts for _ in range(DRAWS))


def judge_all(cases: list[Case], scored: Scored, processors: list[str]) -> list[Judged]:
    """Judge every run that is whole; without the calibrated controls nothing of a processor is."""
    found = []
    for processor in processors:
        whole = [
            control for control in (*NOISE, *MILD)
            if all((processor, control, case.id) in scored for case in cases)
        ]  # fmt: skip
        for control in whole if set(CALIBRATED) <= set(whole) else ():
            rows = Judge(cases, scored, processor, control).rows()
            alone = sum(row.verdict is Verdict.DRIFT for row in rows)
            (verdict,) = judge_sets(rows)
            found.append(Judged(control, processor, alone, verdict, drifting_sets(rows)))
    return found


def total(name: str, judged: Iterable[Judged]) -> str:
    """Return the sums of some runs in one line."""
    runs = list(judged)
    pairs, sets = sum(each.verdict.cases for each in runs), len(runs)
    alone, small = sum(each.alone for each in runs), sum(each.sets_of_ten for each in runs)
    drifting, draws = sum(each.verdict.drifts for each in runs), sets * DRAWS
    return (
        f"{name}: {alone} of {pairs} pairs drift alone; {drifting} of {sets} sets drift, "
        f"{small} of {draws} sets of 10 ({small / max(draws, 1):.2%})"
    )


def main() -> None:
    """Render, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="processes that render and score")
    parser.add_argument("--processor", nargs="+", choices=list(PROCESSORS), default=["native"])
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no render after that")
    options = parser.parse_args()
    cases = cases_in(options.folder)
    render_all(options.folder, options.processor, options.jobs, options.seconds)
    scored = score_all(options.folder, cases, options.processor, options.jobs)
    judged = judge_all(cases, scored, options.processor)
    print(f"{'control':<28}{'processor':<10}{'single drifts':>14}{'worse':>8}{'p':>9}  set      sets of 10")
    print(*judged, sep="\n")
    print(total("valid", (each for each in judged if each.control in NOISE)))
    print(total("wrong, the four", (each for each in judged if each.control in NAMED)))
    print(total("wrong, all", (each for each in judged if each.control in MILD)))


if __name__ == "__main__":
    main()
