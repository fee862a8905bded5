"""Which metric tells equally valid re-runs from wrong settings best?

    python benchmarks/metrics.py FOLDER [--processor native avx2] [--jobs 2]

Scores the renders that ``python benchmarks/set_verdict.py FOLDER`` made of the shipped job's 16 previews:
equally valid ones, with ``avx2`` by another processor's rounding too, and mildly wrong ones. It prints for
every metric the area under the ROC curve, which is how likely a wrong setting scores worse than a valid
re-run, and the share of wrong renders that is caught where 1 % of the valid ones would be called wrong: of
all, at half the size, by the step of the LoRA, and by wrong setting.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from set_controls import MILD, NOISE, PROCESSORS, image_of  # noqa: E402

from harness.calibration.limits import METRICS  # noqa: E402
from harness.judging.tolerance_file import Measured  # noqa: E402
from harness.metrics.codec import Codec  # noqa: E402
from harness.metrics.images import Pixels, load_rgb  # noqa: E402
from harness.metrics.lpips import Lpips  # noqa: E402
from harness.metrics.perceptual import choose_metrics  # noqa: E402
from harness.metrics.score_pair import score_images  # noqa: E402
from harness.metrics.scores import METRIC_NAMES  # noqa: E402
from harness.schema.case import Case, load_cases  # noqa: E402

FALSE_ALARMS = 0.01
SIZES = (128, 64)


@dataclass(frozen=True)
class Scored:
    """One render's scores, and what it is of."""

    case: str
    step: int
    size: int
    measured: Measured


def score(folder: Path, processors: list[str], jobs: int) -> list[Scored]:
    """Return the scores of every render that is there, at every size, case by case in ``jobs`` processes."""
    for why in choose_metrics(METRIC_NAMES).absent:
        print(why)
    cases = load_cases([folder / "cases"])
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(score_case, [folder] * len(cases), cases, [processors] * len(cases))
        return [scored for part in found for scored in part]


def score_case(folder: Path, case: Case, processors: list[str]) -> list[Scored]:
    """Return the scores of every render of a case."""
    lpips, metrics = Lpips(), choose_metrics(METRIC_NAMES)
    preview, codec = load_rgb(case.preview_path), Codec.of(case.preview_path)
    found = []
    for processor in processors:
        for control in (*NOISE, *MILD):
            file = image_of(folder, processor, control, case)
            if not file.exists() or (control in MILD and processor != processors[0]):
                continue
            image, kind = codec.apply(load_rgb(file)), "noise" if control in NOISE else "signal"
            for size in SIZES:
                pair = resized(preview, size), resized(image, size)
                scores = score_images(*pair, lpips, metrics).model_dump(exclude={"pixels"})
                name = control if processor == "native" else f"{control}, {processor}"
                measured = Measured(control=name, kind=kind, **scores)
                found.append(Scored(case.id, case.preview.step, size, measured))
    return found


def resized(image: Pixels, size: int) -> Pixels:
    """Return an image at another size, averaged."""
    if image.shape[0] == size:
        return image
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))


def roc_area(noise: NDArray[np.float64], signal: NDArray[np.float64]) -> float:
    """Return the probability that a valid re-run scores better than a wrong one; a tie counts half."""
    better = (noise[:, None] > signal[None]).mean()
    return float(better + (noise[:, None] == signal[None]).mean() / 2)


def caught(noise: NDArray[np.float64], signal: NDArray[np.float64]) -> float:
    """Return the share of wrong renders below the limit that ``FALSE_ALARMS`` of the valid ones miss."""
    return float((signal < np.quantile(noise, FALSE_ALARMS, method="lower")).mean())


def line(name: str, scored: Iterable[Scored], of: Callable[[Scored], float]) -> str:
    """Return one metric's numbers."""
    found = list(scored)
    noise, signal = (
        np.array([of(each) for each in found if each.measured.kind == kind]) for kind in ("noise", "signal")
    )
    return f"{name:<14}{roc_area(noise, signal):>8.3f}{caught(noise, signal):>9.1%}"


def above_own_noise(scored: list[Scored], metric: Callable[[Measured], float]) -> Callable[[Scored], float]:
    """Return a render's score above the worst valid re-run of the same case, itself left out."""
    valid: dict[tuple[str, int], dict[str, float]] = {}
    for each in scored:
        if each.measured.kind == "noise":
            valid.setdefault((each.case, each.size), {})[each.measured.control] = metric(each.measured)

    def above(each: Scored) -> float:
        others = valid[each.case, each.size]
        return metric(each.measured) - min(
            score for name, score in others.items() if name != each.measured.control
        )

    return above


def report(title: str, scored: list[Scored]) -> None:
    """Print the table of some renders."""
    kinds = [each.measured.kind for each in scored]
    print(f"\n{title}: {kinds.count('noise')} valid, {kinds.count('signal')} wrong")
    print(f"{'':<14}{'one limit for all':>17}{'':4}{'own limit of each case':>24}")
    print(f"{'metric':<14}{'area':>8}{'caught':>9}{'':>12}{'area':>8}{'caught':>9}")
    for name, metric in METRICS.items():
        if any(getattr(each.measured, name) is None for each in scored) and name != "psnr":
            continue
        one = line(name, scored, lambda each, metric=metric: metric(each.measured))
        own = line("", scored, above_own_noise(scored, metric))
        print(f"{one}{'':>12}{own.strip():>17}")


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processor", nargs="+", choices=list(PROCESSORS), default=["native"])
    parser.add_argument("--jobs", type=int, default=2, help="processes that score")
    options = parser.parse_args()
    scored = score(options.folder, options.processor, options.jobs)
    whole = [each for each in scored if each.size == SIZES[0]]
    report(f"all, {SIZES[0]}²", whole)
    for size in SIZES[1:]:
        report(f"all, at {size}²", [each for each in scored if each.size == size])
    for step in sorted({each.step for each in whole}):
        report(f"step {step}, {SIZES[0]}²", [each for each in whole if each.step == step])
    for control in MILD:
        kept = [each for each in whole if each.measured.kind == "noise" or each.measured.control == control]
        report(f"{control}, {SIZES[0]}²", kept)


if __name__ == "__main__":
    main()
