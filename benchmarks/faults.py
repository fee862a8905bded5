"""Stop the harness everywhere, repeat the command, and compare with what an unbroken one leaves.

    python benchmarks/faults.py [--attempts 50] [--only KIND] [--seed 1]

Each attempt stops a command at a random moment: killed at one of its file-system events, in the middle of a
write, or at any time; interrupted; or by a disk that takes no more. What it left is compared, then the same
command runs again. A row is lost if the unbroken command has it and the repeated one has not, doubled if two
lines have it; a file is corrupt if it is there and is not what the unbroken command left. Renders are
counted: only the one in flight may be made again. "Left over" are hidden files that the repeated command did
not take over, and renders that still wait for their scores. Exit code 0: nothing lost, doubled, corrupt,
rendered twice or left over, all recovered.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from fault_child import Ended, Fault, preload, run_child  # noqa: E402

from harness.runs.pending_renders import FILE  # noqa: E402

JOB = Path(__file__).parents[1] / "harness/data/jobs/emoji_inkprint"
CPU = ["--device", "cpu"]


def _harness(*arguments: str) -> Callable[[], None]:
    def main() -> None:
        from harness.cli import main as command

        sys.argv = ["harness", *arguments]
        command()

    return main


def _pytest() -> None:
    import pytest

    options = ["--update-baselines", "--harness-reason=kept", "--harness-results=run", "--rootdir=."]
    plain = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:timeout",
        "-p",
        "no:xdist",
        "-q",
    ]
    try:
        sys.exit(int(pytest.main(["cases", *options, *plain, "-c", os.devnull])))
    except KeyboardInterrupt:  # outside its session pytest leaves that to Python; so does the harness
        print("KeyboardInterrupt", file=sys.stderr)
        sys.exit(130)


@dataclass(frozen=True)
class Kind:
    """A command, what it starts from, and whether the report's pages must be the same too.

    Attributes:
        marker: a file that is there from the beginning of the work to its end, in the run folder.
    """

    main: Callable[[], None]
    needs: tuple[str, ...] = ("cases",)
    pages: bool = False
    marker: str | None = None

    def was_through(self, work: Path) -> bool:
        """Whether the work was done and only the process had not ended."""
        run = work / "run"
        return self.marker is not None and (run / "run.json").exists() and not (run / self.marker).exists()


BESIDE = "run --score-workers 2"
KINDS = {
    "run": Kind(_harness("run", "cases", "--out", "run", *CPU)),
    BESIDE: Kind(_harness("run", "cases", "--out", "run", "--score-workers", "2", *CPU)),
    "sweep": Kind(_harness("sweep", "cases", "--out", "run", "--axis", "guidance_scale=1,7", *CPU)),
    "calibration": Kind(
        _harness("calibrate", "cases/lora_0.case.yaml", "--run", "run", "--out", "tolerance.json", *CPU)
    ),
    "pytest --update-baselines": Kind(_pytest, marker=".run.json.unfinished"),
    "harness accept": Kind(_harness("accept", "run", "--reason", "kept"), ("run",)),
    "report": Kind(_harness("report", "run"), ("run",), pages=True),
    "import": Kind(_harness("import", "job", "--out", "imported"), ("job",)),
}


INTERRUPTED = ("run", BESIDE, "sweep", "calibration", "pytest --update-baselines")
FULL = ("run", "pytest --update-baselines", "harness accept", "report", "import")


def contents(work: Path, *, pages: bool) -> dict[str, Any]:
    """Return all visible files by name, without times and, unless ``pages``, without pages that show them."""
    found: dict[str, Any] = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(work).parts):
            continue
        if path.name == "results.jsonl":
            found |= {f"row {row['case']} {row['variant']}": row for row in _rows(path)}
        elif path.name in {"run.json", "tolerance.json"} or name.startswith("baselines/"):
            found[name] = _without_times(json.loads(path.read_bytes()))
        elif pages or path.suffix in {".png", ".jpg", ".webp", ".yaml", ".safetensors"}:
            found[name] = path.read_bytes()
        else:
            found[name] = None
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a results file."""
    return [_without_times(json.loads(line)) for line in path.read_bytes().split(b"\n")[:-1]]


def _without_times(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_times(each) for each in data]
    if isinstance(data, dict):
        times = {"seconds", "created", "accepted", "date"}
        return {key: _without_times(value) for key, value in data.items() if key not in times}
    return data


@dataclass
class Result:
    """What came of the attempts on one kind of command."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)


class Bench:
    """A folder with everything that the commands start from, made once."""

    def __init__(self, folder: Path) -> None:
        from harness.pipeline.renderer import ReferenceRenderer
        from tests.pytest_plugin.tiny_project import make_project

        self.folder, self._number = folder, 0
        (folder / "start").mkdir(parents=True)
        start = folder / "start"
        make_project(start, ReferenceRenderer(device="cpu"))
        (start / "cases" / "on_hub.case.yaml").unlink()
        shutil.copytree(JOB, start / "job")
        run_child(KINDS["run"].main, start, Fault())

    def fresh(self, kind: Kind) -> Path:
        """Return a new folder with what ``kind`` starts from."""
        self._number += 1
        work = self.folder / str(self._number)
        for name in kind.needs:
            shutil.copytree(self.folder / "start" / name, work / name)
        if kind.pages:
            for name in ("cases", "assets"):
                shutil.rmtree(work / "run" / name)
        return work

    def unbroken(self, kind: Kind) -> tuple[Ended, dict[str, Any]]:
        """Run the command to its end; returns how it ended and what it left."""
        work = self.fresh(kind)
        ended = run_child(kind.main, work, Fault())
        assert ended.code in {0, 1}, ended.said
        return ended, contents(work, pages=kind.pages)

    def attempts(
        self, kind: Kind, faults: Callable[[random.Random, Ended], Fault], count: int, seed: int
    ) -> Result:
        """Stop the command ``count`` times, each time somewhere else, and repeat it."""
        random_, result = random.Random(seed), Result()
        ended, whole = self.unbroken(kind)
        while result.counts["attempts"] < count:
            fault = faults(random_, ended)
            self._attempt(kind, fault, ended, whole, result)
        return result

    def _attempt(self, kind: Kind, fault: Fault, ended: Ended, whole: dict[str, Any], result: Result) -> None:
        work = self.fresh(kind)
        stopped = run_child(kind.main, work, fault)
        if stopped.code == ended.code or kind.was_through(work):  # it was through before the fault came
            shutil.rmtree(work)
            result.counts["missed"] += 1
            return
        counts = result.counts
        counts["attempts"] += 1
        if fault.signal == signal.SIGINT and fault.after is not None:
            result.slowest = max(result.slowest, stopped.since_signal)
        problems = [f"left {name}" for name in _differ(contents(work, pages=kind.pages), whole)]
        silent = fault.signal == signal.SIGINT and not re.search(
            "interrupted: |KeyboardInterrupt", stopped.said
        )
        if silent or "Traceback" in stopped.said or "uncaught" in stopped.said:
            problems.append(f"no clear line: {stopped.said[-300:]}")
        again = run_child(kind.main, work, Fault())
        after = contents(work, pages=kind.pages)
        problems += [f"ended with {name}" for name in _differ(after, whole)]
        missing = sorted(whole.keys() - after.keys())
        counts["lost"] += sum(name.startswith("row ") for name in missing)
        problems += [f"lost {name}" for name in missing if not name.startswith("row ")]
        lines = [line for path in work.glob("run/results.jsonl") for line in _rows(path)]
        counts["doubled"] += len(lines) - len({(line["case"], line["variant"]) for line in lines})
        counts["corrupt"] += len(problems)
        counts["rendered twice"] += max(0, stopped.renders + again.renders - ended.renders - 1)
        counts["left over"] += sum(1 for name in (".*.part", FILE) for _ in work.rglob(name))
        counts["recovered"] += again.code == ended.code and not missing
        if problems or again.code != ended.code:
            result.problems.append(
                f"{fault}: {'; '.join(problems)[:500]} code {again.code} {again.said[-300:]}"
            )
        shutil.rmtree(work)


def _differ(found: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """Return the names of files and rows that an unbroken command does not leave, or not so."""
    return [name for name, value in found.items() if name not in whole or whole[name] != value]


def killed(random_: random.Random, ended: Ended) -> Fault:
    """A kill at a file-system event, at a time, or in the middle of a write."""
    way = random_.choice(("event", "event", "after", "size"))
    if way == "event":
        return Fault(event=random_.randint(1, ended.events))
    if way == "after":
        return Fault(after=random_.uniform(0, ended.seconds))
    return Fault(size=int(10 ** random_.uniform(0, 4.6)))


def interrupted(random_: random.Random, ended: Ended) -> Fault:
    """Ctrl-C at a file-system event, or at a time."""
    if random_.random() < 0.5:
        return Fault(event=random_.randint(1, ended.events), signal=signal.SIGINT)
    return Fault(after=random_.uniform(0, ended.seconds), signal=signal.SIGINT)


def full(random_: random.Random, ended: Ended) -> Fault:
    """A disk that takes no more than so many bytes for one file."""
    return Fault(full=int(10 ** random_.uniform(0, 4.6)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attempts", type=int, default=50, help="per kind of fault")
    parser.add_argument(
        "--only", action="append", help="part of a kind's name, e.g. 'kill run'; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    preload()
    rows: list[tuple[str, Kind, Callable[..., Fault]]] = [
        *((f"kill {name}", kind, killed) for name, kind in KINDS.items()),
        *((f"Ctrl-C {name}", KINDS[name], interrupted) for name in INTERRUPTED),
        *((f"full disk {name}", KINDS[name], full) for name in FULL),
    ]
    head = ("attempts", "lost", "doubled", "corrupt", "recovered", "rendered twice", "left over")
    print(f"{'kind of fault':<38}" + "".join(f"{name:>{len(name) + 2}}" for name in head))
    good = True
    with tempfile.TemporaryDirectory(dir=memory if (memory := Path("/dev/shm")).is_dir() else None) as folder:
        bench = Bench(Path(folder) / "bench")
        for name, kind, faults in rows:
            if options.only and not any(part in name for part in options.only):
                continue
            result = bench.attempts(kind, faults, options.attempts, options.seed)
            counts = result.counts
            note = f"  slowest end {result.slowest:.1f} s" if result.slowest else ""
            cells = "".join(f"{counts[each]:>{len(each) + 2}}" for each in head)
            print(f"{name:<38}{cells}{note}", flush=True)
            for problem in result.problems[:5]:
                print(f"    {problem}", flush=True)
            bad = ("lost", "doubled", "corrupt", "rendered twice", "left over")
            good &= not any(counts[each] for each in bad) and counts["recovered"] == counts["attempts"]
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
