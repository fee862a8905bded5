"""Diagnose previews whose cause is known, and print the confusion table.

OMP_NUM_THREADS=1 python benchmarks/diagnosis.py --single 60 --double 30
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "diagnosis"))

from truths import AXES_ON_CPU, Truth, base_cases, double, truths  # noqa: E402

from harness.diagnosis.bench import Bench  # noqa: E402
from harness.diagnosis.search import Search, search  # noqa: E402
from harness.reference.render import ReferenceRenderer  # noqa: E402
from harness.renderer import Renderer  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.variants.axes import AXES  # noqa: E402
from harness.variants.axis import Context  # noqa: E402

JOB = ROOT / "harness" / "data" / "jobs" / "tiny_flex2_simple_v1"
BUDGET = 80


def main() -> None:
    """Make the truths, diagnose them, print one line each and the table."""
    options = argparse.ArgumentParser()
    options.add_argument("--single", type=int, default=60)
    options.add_argument("--double", type=int, default=30)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    renderer = ReferenceRenderer(device="cpu")
    folder = Path(tempfile.mkdtemp())
    bases = base_cases(JOB, folder / "cases")
    singles = [(name,) for name in itertools.islice(itertools.cycle(AXES_ON_CPU), chosen.single)]
    for title, axes in (("single", singles), ("double", pairs(chosen.double, chosen.seed))):
        if axes:
            report(title, [diagnose(truth, renderer) for truth in truths(bases, axes, renderer, chosen.seed)])


def pairs(count: int, seed: int) -> list[tuple[str, ...]]:
    """Return ``count`` pairs of axes of two families, drawn at random."""
    every = [
        double(pair)
        for pair in itertools.combinations(AXES_ON_CPU, 2)
        if AXES[pair[0]].family is not AXES[pair[1]].family and "divisor" not in pair
    ]
    return random.Random(seed).sample(every, count)


def diagnose(truth: Truth, renderer: Renderer) -> tuple[Truth, Search, float, int]:
    """Diagnose one truth blind and print a line."""
    started = time.perf_counter()
    context = Context(truth.case, request_of(truth.case, RunOptions(device="cpu"), "cpu"), "cpu")
    bench = Bench(context, renderer)
    found = search(bench, BUDGET)
    named = dict(found.path[-1].settings) if found.path else {}
    mark = "ok  " if named == truth.factors else "MISS"
    print(
        f"{mark} truth {truth.factors} named {named} explained {found.explained} "
        f"cost {bench.spent:.1f} of {exhaustive(bench, len(truth.factors)):.0f} "
        f"({time.perf_counter() - started:.0f} s)",
        flush=True,
    )
    return truth, found, bench.spent, len(truth.factors)


def exhaustive(bench: Bench, factors: int) -> float:
    """Return how many renders the grid of all values of ``factors`` axes takes."""
    context: Context = bench.context
    sizes = [
        sum(axis.problem(context, value) is None for value in axis.candidates(context))
        for axis in AXES.values()
    ]
    return float(sum(a * b for a, b in itertools.combinations(sizes, 2)) if factors == 2 else sum(sizes))


def report(title: str, results: list[tuple[Truth, Search, float, int]]) -> None:
    """Print how often the truth was named, the confusion table by axis, and the cost."""
    named = [dict(found.path[-1].settings) if found.path else {} for _, found, _, _ in results]
    right = sum(name == truth.factors for name, (truth, *_) in zip(named, results, strict=True))
    print(f"\n{title}: {right} of {len(results)} named with axis and value ({right / len(results):.0%})")
    costs = sorted(cost for _, _, cost, _ in results)
    print(f"cost in renders: median {costs[len(costs) // 2]:.1f}, largest {costs[-1]:.1f}")
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for name, (truth, *_) in zip(named, results, strict=True):
        table[" + ".join(truth.factors)][" + ".join(sorted(name, key=list(AXES).index)) or "nothing"] += 1
    print(f"\n{'true axis':<42} named axis")
    for axis, row in sorted(table.items()):
        print(f"{axis:<42} {', '.join(f'{other} {count}' for other, count in row.most_common())}")
    print(flush=True)


if __name__ == "__main__":
    main()
