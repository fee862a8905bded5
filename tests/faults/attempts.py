"""Stop a command, compare what it left with an unbroken one, and repeat it."""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.runs.pending_renders import FILE
from tests.faults.child import Ended, Fault, run_child
from tests.faults.commands import KINDS, Kind, contents, rows_of

JOB = Path(__file__).parents[2] / "harness/data/jobs/emoji_inkprint"


@dataclass
class Result:
    """What came of the attempts on one kind of command."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)


class Workshop:
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
        lines = [line for path in work.glob("run/results.jsonl") for line in rows_of(path)]
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
