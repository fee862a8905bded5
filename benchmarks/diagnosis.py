"""Diagnose previews whose cause is known, and print the confusion table, the cost and the cheap ranking.

OMP_NUM_THREADS=1 python benchmarks/diagnosis.py --results truths.jsonl

Every truth is one line of the results; a killed benchmark goes on where it stopped, and --report only reads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from harness.diagnosis.diagnose import BUDGET  # noqa: E402
from harness.diagnosis.ranking import changes  # noqa: E402
from harness.diagnosis.search import Search, search  # noqa: E402
from harness.diagnosis.trials import TrialRenderer, calls_of  # noqa: E402
from harness.pipeline.renderer import ReferenceRenderer  # noqa: E402
from harness.runs.plan import RunOptions, request_of  # noqa: E402
from harness.schema.render import Renderer  # noqa: E402
from harness.sweeps.axes import AXES  # noqa: E402
from harness.sweeps.axis import Context, Family  # noqa: E402
from tests.diagnosis.truths import AXES_ON_CPU, Truth, base_cases, double, truth  # noqa: E402

JOB = ROOT / "harness" / "data" / "jobs" / "emoji_inkprint"
Row = dict[str, Any]


def main() -> None:
    """Make the truths, diagnose them, and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--single", type=int, default=60)
    parser.add_argument("--double", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("truths.jsonl"))
    parser.add_argument("--report", action="store_true", help="only print what the results say")
    chosen = parser.parse_args()
    wanted = {
        f"truth{chosen.seed}-{number:03d}": names
        for number, names in enumerate([*singles(chosen.single), *doubles(chosen.double, chosen.seed)])
    }
    rows = _read(chosen.results)
    if not chosen.report:
        renderer = ReferenceRenderer(device="cpu")
        bases = base_cases(JOB, Path(tempfile.mkdtemp()) / "cases")
        for stem in [stem for stem in wanted if stem not in rows]:
            row = rows[stem] = diagnose(truth(bases, wanted[stem], renderer, stem), renderer)
            print(f"{'ok  ' if row['right'] else 'MISS'} {row}", flush=True)
            with chosen.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"truth": stem, **row}) + "\n")
    for count, title in ((1, "one factor"), (2, "two factors")):
        if found := [rows[stem] for stem, names in wanted.items() if len(names) == count and stem in rows]:
            report(title, found)


def singles(count: int) -> list[tuple[str, ...]]:
    """Return ``count`` single axes, each as often as the others."""
    return [(name,) for name in itertools.islice(itertools.cycle(AXES_ON_CPU), count)]


def doubles(count: int, seed: int) -> list[tuple[str, ...]]:
    """Return pairs of axes of two families, drawn at random; every tenth is a static shift."""
    every = [
        double(pair)
        for pair in itertools.combinations(AXES_ON_CPU, 2)
        if AXES[pair[0]].family is not AXES[pair[1]].family and "divisor" not in pair
    ]
    static = [("dynamic_shifting", "shift")] * (count // 10)
    return [*static, *random.Random(seed).sample(every, count - len(static))]


def diagnose(made: Truth, renderer: Renderer) -> Row:
    """Diagnose one truth blind and return its row."""
    started = time.perf_counter()
    context = Context(made.case, request_of(made.case, RunOptions(device="cpu"), "cpu"), "cpu")
    trials = TrialRenderer(context, renderer)
    found = search(trials, BUDGET)
    settings = [dict(trial.settings) for trial in found.path]
    named = {name: value for each in settings[: len(made.factors)] for name, value in each.items()}
    return {
        "factors": made.factors,
        "named": dict(settings[-1]) if settings else {},
        "right": bool(named) and trials.effective(named) == trials.effective(made.factors),
        "alone": len(settings) == len(made.factors),
        "explained": found.explained,
        "format": made.case.preview_path.suffix,
        "spent": round(trials.spent, 2),
        "renders": trials.renders,
        "grid": grid(trials),
        "places": places(trials, found, made),
        "seconds": round(time.perf_counter() - started),
    }


def grid(trials: TrialRenderer) -> list[float]:
    """Return the exhaustive grid of single factors: renders, and what they cost in the case's own."""
    requests = {trials.effective({}): trials.request({})}
    for settings in changes(trials, lambda _: True):
        requests.setdefault(trials.effective(settings), trials.request(settings))
    own = calls_of(trials.request({}))
    return [len(requests), round(sum(calls_of(request) for request in requests.values()) / own, 2)]


def places(trials: TrialRenderer, found: Search, made: Truth) -> dict[str, list[int]]:
    """Return for each factor the place of its line in its group, from 1, and the group's number of lines."""
    here = {}
    for name, value in made.factors.items():
        wanted = trials.effective({name: value})
        for group in found.ranked:
            for place, line in enumerate(group, 1):
                if wanted in map(trials.effective, line):
                    here[name] = [place, len(group)]
    return here


def report(title: str, rows: list[Row]) -> None:
    """Print how often the truth was named, the confusion table by axis, the cost, and the cheap ranking."""
    right = sum(row["right"] for row in rows)
    formats = Counter(row["format"] for row in rows)
    print(f"\n== {title}: {right} of {len(rows)} named with axis and value ({right / len(rows):.1%})")
    print(f"previews: {', '.join(f'{count} {suffix}' for suffix, count in sorted(formats.items()))}")
    print(f"nothing named besides the truth: {sum(row['alone'] for row in rows)}")
    _costs(rows)
    _confusion(rows)
    _ranking(rows)


def _costs(rows: list[Row]) -> None:
    shares = sorted(row["spent"] / row["grid"][1] for row in rows)
    spent, renders = sorted(row["spent"] for row in rows), sorted(row["renders"] for row in rows)
    print(f"cost in renders of the case's own: median {spent[len(rows) // 2]:.1f}, largest {spent[-1]:.1f}")
    print(f"renders, whole or in part: median {renders[len(rows) // 2]}, largest {renders[-1]}")
    print(f"share of the single-factor grid: median {shares[len(rows) // 2]:.0%}, largest {shares[-1]:.0%}")


def _confusion(rows: list[Row]) -> None:
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["right"]:
            answer = "the truth"
        elif set(row["named"]) == set(row["factors"]):
            answer = "the axis, another value"
        else:
            answer = " + ".join(row["named"]) or "nothing"
        table[" + ".join(row["factors"])][answer] += 1
    print(f"\n{'true axis':<42} named")
    for axis, counts in table.items():
        print(f"{axis:<42} {', '.join(f'{answer} {count}' for answer, count in counts.most_common())}")


def _ranking(rows: list[Row]) -> None:
    found: dict[str, list[list[int]]] = defaultdict(list)
    absent: Counter[str] = Counter()
    for row in rows:
        for name in row["factors"]:
            place = row["places"].get(name)
            if place and AXES[name].family is not Family.NOISE:  # noise is not estimated, but tried whole
                found[name].append(place)
            else:
                absent[name] += 1
    heads = ("truths", "of", "first", "in 3", "in 6", "worst")
    print(f"\n{'cheap ranking of':<22} " + " ".join(f"{head:>6}" for head in heads))
    for name in AXES:
        if places := [place for place, _ in found[name]]:
            within = [sum(place <= limit for place in places) for limit in (1, 3, 6)]
            size = max(size for _, size in found[name])
            print(
                f"{name:<22} {len(places):>6} {size:>6} "
                + " ".join(f"{count:>6}" for count in (*within, max(places)))
            )
    if absent:
        print(f"tried without a ranking, or found or given up before it: {dict(absent)}")


def _read(path: Path) -> dict[str, Row]:
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row.pop("truth"): row for row in rows}


if __name__ == "__main__":
    main()
