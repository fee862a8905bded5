"""Diagnose previews whose cause is known, through the public function, and print how often it is named.

python benchmarks/diagnosis.py --jobs 2 --seed 0 --json truths.json
python benchmarks/diagnosis.py --jobs 2 --seed 0 --baseline CHECKOUT --json base.json

Truths are made by this build and lie in files; each process diagnoses them one after the other with
``harness.diagnose``, as a user would. Genuine job folders with something altered count apart.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.genuine_jobs import Alteration, alterations  # noqa: E402
from harness.diagnosis.trials import words  # noqa: E402
from harness.pipeline.renderer import ReferenceRenderer  # noqa: E402
from harness.schema.case import load_case  # noqa: E402
from harness.sweeps.axes import AXES  # noqa: E402
from tests.diagnosis.truths import AXES_ON_CPU, base_cases, pair, renders, truth  # noqa: E402

JOB = ROOT / "harness" / "data" / "jobs" / "emoji_inkprint"
KERNELS = "ONEDNN_MAX_CPU_ISA"
"""Variable that holds torch's products to the instructions of an older processor, which round otherwise."""
COUNTS = {"single": 120, "double": 60, "none": 30}
Row = dict[str, Any]


def main() -> None:
    """Make what is to be diagnosed, diagnose it, print the table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="single,double,none,genuine")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no diagnosis after that")
    parser.add_argument("--limit", type=int, help="at most so many of each kind")
    parser.add_argument("--only", help="names of truths, comma-separated, as in single0-007; no others")
    parser.add_argument("--baseline", type=Path, help="checkout whose build diagnoses, instead of this one")
    parser.add_argument("--truths", type=Path, help="folder of truths, made there once")
    parser.add_argument(
        "--made-on", help="make truths as on another processor, a value of ONEDNN_MAX_CPU_ISA"
    )
    parser.add_argument("--json", type=Path, help="write one row for each diagnosis here")
    chosen = parser.parse_args()
    folder = chosen.truths or Path(tempfile.mkdtemp())
    made: list[Row] = []
    for kind in chosen.kinds.split(","):
        rows = made_genuine(folder, chosen.limit) if kind == "genuine" else made_truths(kind, folder, chosen)
        made += [{"kind": kind, **row} for row in rows]
    tasks = [row.pop("task") for row in made]
    started = time.perf_counter()
    found: list[Row] = []
    for number, answer in diagnosed(tasks, chosen.baseline or ROOT, chosen.jobs, chosen.seconds):
        found.append(judged({**made[number], **answer}))
        print(f"{len(found)} of {len(tasks)}", file=sys.stderr, flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    for kind in chosen.kinds.split(","):
        wanted = sum(row["kind"] == kind for row in made)
        report(kind, [row for row in found if row["kind"] == kind], wanted, chosen)
    print(f"\n{time.perf_counter() - started:.0f} s in {chosen.jobs} processes")


def made_truths(kind: str, folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """Return the rows of one kind of truth, to be diagnosed; their files are made where they are missing."""
    wanted = dict(truths_of(kind, chosen))
    index = folder / f"{kind}{chosen.seed}.json"
    known = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    missing = {stem: names for stem, names in wanted.items() if stem not in known}
    if missing:
        cases = folder / "cases"
        base_cases(JOB, cases)
        if chosen.made_on:
            os.environ[KERNELS] = chosen.made_on
        with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
            drawn = pool.map(functools.partial(made_truth, cases), missing, missing.values())
            known |= dict(zip(missing, drawn, strict=True))
        os.environ.pop(KERNELS, None)
        index.write_text(json.dumps(known), encoding="utf-8")
    none = [names for stem, names in wanted.items() if known[stem] is None]
    if none:
        print(f"no truth can be made here of {none}")
    return [known[stem] for stem in wanted if known[stem] is not None]


def truths_of(kind: str, chosen: argparse.Namespace) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield name and axes of the truths that were chosen."""
    only = chosen.only.split(",") if chosen.only else []
    names = itertools.islice(axes_of(kind, chosen.seed), chosen.limit or COUNTS[kind])
    for number, each in enumerate(names):
        stem = f"{kind}{chosen.seed}-{number:03d}"
        if not only or stem in only:
            yield stem, each


def axes_of(kind: str, seed: int) -> Iterable[tuple[str, ...]]:
    """Yield the axes of each truth: single ones in turn; pairs of two families, each tenth a static shift."""
    if kind == "none":
        yield from itertools.repeat(())
    elif kind == "single":
        yield from ((name,) for name in itertools.cycle(AXES_ON_CPU))
    draw = random.Random(seed)
    every = [
        pair(*names)
        for names in itertools.combinations(AXES_ON_CPU, 2)
        if AXES[names[0]].family is not AXES[names[1]].family and "divisor" not in names
    ]
    for number in itertools.count():
        yield ("dynamic_shifting", "shift") if number % 10 == 0 else draw.choice(every)


@functools.cache
def renderer() -> ReferenceRenderer:
    """Return the renderer of this process."""
    return ReferenceRenderer(device="cpu")


def made_truth(cases: Path, stem: str, names: tuple[str, ...]) -> Row | None:
    """Make one truth and return its row; None where this machine can make none."""
    bases = [case for case in base_cases(JOB, cases) if case.id.startswith(JOB.name)]
    made = truth(bases, names, renderer(), stem)
    if made is None:
        return None
    file = str(made.case.file)
    return {"name": stem, "factors": made.factors, "file": file, "task": {"case": file}}


def made_genuine(folder: Path, limit: int | None) -> list[Row]:
    """Return the rows of genuine alterations, to be diagnosed."""
    rows = []
    for number, each in enumerate(itertools.islice(alterations(), limit)):
        place = folder / "genuine" / f"{number:02d}-{time.time_ns()}"
        step, _, index = each.case.partition("_")
        task = {"job": str(each.make(place)), "case": f"{int(step):09d}_{index}", "out": str(place / "cases")}
        rows.append({"name": title(each), "factors": each.causes, "task": task})
    return rows


def title(each: Alteration) -> str:
    """Return an alteration as the table calls it."""
    return f"{each.job} {each.case}: {each.name}"


def diagnosed(
    tasks: list[dict[str, str]], build: Path, processes: int, seconds: float
) -> Iterator[tuple[int, Row]]:
    """Diagnose ``tasks`` with the build in the folder ``build``; yield each answer with its task's number.

    Several processes take them in turn. None is begun after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(tasks)):
        waiting.put(number)
    answers: queue.SimpleQueue[tuple[int, Row] | None] = queue.SimpleQueue()

    def serve() -> None:
        with worker_of(build) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            while time.monotonic() < deadline:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    break
                worker.stdin.write(json.dumps(tasks[number]) + "\n")
                worker.stdin.flush()
                line = worker.stdout.readline() or '{"error": "the process ended", "seconds": 0}'
                answers.put((number, json.loads(line)))
                if worker.poll() is not None:
                    break
        answers.put(None)

    count = min(processes, len(tasks))
    for _ in range(count):
        threading.Thread(target=serve).start()
    while count:
        answer = answers.get()
        if answer is None:
            count -= 1
        else:
            yield answer


def worker_of(build: Path) -> subprocess.Popen[str]:
    """Start a process that diagnoses with the build in the folder ``build``."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    libraries = [entry for entry in given if entry and not (Path(entry) / "harness").is_dir()]
    others = [*libraries, *(entry for entry in sys.path if "site" in entry)]
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("diagnosis_worker.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(build.resolve()), *others])},
        cwd=build,
    )


def judged(row: Row) -> Row:
    """Say whether an answer is right: the factors come first, or nothing is named where there is none."""
    causes = row.pop("causes", [])
    factors = row["factors"]
    named = {cause["axis"]: cause["value"] for cause in causes if row.get("explained")}
    file = row.pop("file", None)
    if file is None and named.get("t5_attention") == "sdpa":
        del named["t5_attention"]  # the genuine jobs were sampled by transformers 5.24, which no job records
    first = dict(itertools.islice(named.items(), len(factors)))
    row |= {"named": named, "alone": len(named) == len(factors), "right": first == factors}
    if not factors:
        row["right"] = not named and bool(row.get("explained"))
    elif file is not None and set(first) <= set(AXES):
        row["right"] = renders(load_case(Path(file)), first) == renders(load_case(Path(file)), factors)
    row["listed"] = row["right"] or words(factors) in row.get("rivals", [])
    if named and causes[-1]["distance"] == 0:
        row["right"] = row["listed"]
    return row


def report(kind: str, rows: list[Row], wanted: int, chosen: argparse.Namespace) -> None:
    """Print how often the truth was named, what it cost, and what was missed."""
    right, build = sum(row["right"] for row in rows), chosen.baseline or "this build"
    print(f"\n== {kind}, seed {chosen.seed}, {build}: {right} of {len(rows)} right")
    if len(rows) < wanted:
        print(f"{wanted - len(rows)} of {wanted} were not reached in time")
    spent = sorted(row["spent"] for row in rows if "spent" in row)
    if spent:
        middle, high = spent[len(spent) // 2], spent[int(0.95 * (len(spent) - 1))]
        print(
            f"renders of the case's own: median {middle:.1f}, 95th percentile {high:.1f}, "
            f"all {sum(spent):.0f}"
        )
    alone, listed = sum(row["alone"] for row in rows), sum(row["listed"] for row in rows)
    busy = sum(row["seconds"] for row in rows)
    print(
        f"right, or listed as what cannot be told apart: {listed}; nothing named besides: {alone}; "
        f"{busy:.0f} s of work"
    )
    missed: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if not row["right"]:
            missed[f"{row['name']} {row['factors']}"][str(row.get("error") or row["named"] or "nothing")] += 1
    for sought, answers in missed.items():
        print(f"  missed {sought}: {', '.join(answers)}")


if __name__ == "__main__":
    main()
