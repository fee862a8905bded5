"""What a run found, and its last lines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._util.words import counts_in_words, some
from harness.judging.drift_origin import drift_origin, origins_in_words
from harness.schema.result import Row, Verdict

if TYPE_CHECKING:
    from harness.pytest_plugin.settings import Settings

MAX_NAMES = 10


@dataclass
class Tally:
    """What one process found.

    Attributes:
        judged: cases that have a baseline; ``identical`` of them show its very bits.
        changed: cases that match and do not show the bits that were accepted on this kind of machine.
        elsewhere: cases that were accepted on another kind of machine only.
        stopped: whether Ctrl-C or the disk stopped the session.
        refused: whether the run folder belongs to another run, which stays as it is.
        sets: jobs whose cases drift together, with the reason.
        origins: cases that drift, by what their drift comes from, where that is known.
        left_out: what of the run folder the report leaves out, a line each.
        problem: why the run could not be closed, in one line.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    written: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    cases: int = 0
    deselected: int = 0
    variants: int = 0
    judged: int = 0
    identical: int = 0
    changed: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    stopped: bool = False
    refused: bool = False
    sets: list[str] = field(default_factory=list)
    origins: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    problem: str = ""

    def count(self, row: Row) -> None:
        """Count a judged case."""
        self.verdicts[row.verdict.value] += 1
        self.judged += row.baseline is not None
        self.identical += row.baseline is not None and row.baseline.identical
        if (origin := drift_origin(row)) is not None:
            self.origins.setdefault(origin, []).append(row.case)
        if row.changed:
            self.changed.append(row.case)
        if row.baseline is not None and not row.baseline.same_environment:
            self.elsewhere.append(row.case)

    def plain(self) -> dict[str, Any]:
        """Return the tally in types that xdist can send."""
        return dataclasses.asdict(self) | {"verdicts": dict(self.verdicts)}

    def add(self, worker: dict[str, Any]) -> None:
        """Add a worker's ``plain`` tally; all workers collect the same cases, and each runs some of them."""
        self.verdicts.update(worker["verdicts"])
        for name in ("written", "variants", "judged", "identical", "changed", "elsewhere"):
            setattr(self, name, getattr(self, name) + worker[name])
        for origin, cases in worker["origins"].items():
            self.origins.setdefault(origin, []).extend(cases)
        self.refused |= worker["refused"]
        self.orphans = worker["orphans"]
        self.cases, self.deselected = worker["cases"], worker["deselected"]


def header(tally: Tally, place: str) -> list[str]:
    """Return what is said after collecting; ``place`` is where the cases are rendered."""
    if tally.cases + tally.deselected == 0:
        return []
    cases = "1 case" if tally.cases == 1 else f"{tally.cases} cases"
    line = f"harness: {cases} on {place}"
    if tally.deselected:
        line += f", {tally.deselected} deselected: their base is not embedded, they need --gpu"
    return [line]


def summary(tally: Tally, settings: Settings, results: Path | None) -> list[str]:
    """Return verdict counts, baselines that were written or have no case, and where the report lies."""
    lines = []
    if counts := counts_in_words(tally.verdicts, Verdict):
        lines.append(f"verdicts: {counts}")
    lines += [f"failed: drift of {line}" for line in tally.sets]
    lines += origins_in_words(tally.origins)
    if tally.judged:
        lines.append(f"bit-equal to their baselines: {tally.identical} of {tally.judged}")
    if tally.changed:
        lines.append(f"changed within limits: {some(tally.changed, MAX_NAMES)}")
    if tally.elsewhere:
        lines.append(f"held against another machine's baseline: {some(tally.elsewhere, MAX_NAMES)}")
    if tally.variants:
        lines.append(f"sweep: {tally.variants} variants, in the report")
    if tally.written:
        lines.append(f"baselines written: {some(tally.written, MAX_NAMES)}")
    if tally.orphans:
        found = f"baselines without a case: {some(tally.orphans, MAX_NAMES)}"
        fails = settings.unused == "fail"
        lines.append(f"failed: {found}; delete their files, or bring the cases back" if fails else found)
    lines += [f"left out of the report: {line}" for line in tally.left_out]
    if tally.problem:
        lines.append(tally.problem)
    elif tally.stopped and tally.cases:
        how = "repeat the command" if settings.results else f"harness report {results} shows it"
        lines.append(f"stopped: what was finished is saved; {how}")
    elif tally.verdicts:
        lines.append(
            f"{'report' if settings.report else 'results'}: {results}{'/index.html' * settings.report}"
        )
    return lines
