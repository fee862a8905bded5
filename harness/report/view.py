"""A run as its report shows it: typed and finished, so that templates only lay out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report.comparison import (
    Fact,
    Setting,
    environment_changes,
    flat,
    provenance,
    settings,
    static_facts,
)
from harness.report.curve import Curve, curve
from harness.report.measures import Measure, codec_sentence, measures, severity
from harness.report.pictures import Picture, pictures
from harness.report.words import anchor, moment, number, plain, seconds
from harness.runs.row import Row, Verdict

WORST_FIRST = (Verdict.ERROR, Verdict.DRIFT, Verdict.INCOMPARABLE, Verdict.MATCH)
OPEN_AT_FIRST = 8
"""So many cases that are no match lie open when the page opens."""

LONG_PROMPT = 600
"""Characters from which a prompt gets a scrolling box of its own."""


@dataclass(frozen=True)
class Count:
    """How many rows have one verdict, and where its part of the bar of all verdicts lies, 0 to 100."""

    verdict: Verdict
    rows: int
    start: float
    share: float


@dataclass(frozen=True)
class CaseView:
    """One row."""

    anchor: str
    case: str
    variant: str | None
    verdict: Verdict
    reason: str
    is_open: bool
    is_rendered: bool
    prompt: str
    prompt_is_long: bool
    headline: tuple[Fact, ...]
    pictures: tuple[Picture, ...]
    measures: tuple[Measure, ...]
    limits_source: str
    codec: str | None
    settings: tuple[Setting, ...]
    differing: int
    facts: tuple[str, ...]
    provenance: tuple[Fact, ...]
    environment: tuple[Setting, ...]
    curve: Curve | None
    seconds: tuple[Fact, ...]


@dataclass(frozen=True)
class ReportView:
    """A run."""

    name: str
    title: str
    summary: str
    facts: tuple[Fact, ...]
    counts: tuple[Count, ...]
    cases: tuple[CaseView, ...]
    environment: tuple[Fact, ...]


def report_view(folder: Path, manifest: dict[str, Any], rows: list[Row]) -> ReportView:
    """Return everything that the report of a run shows, worst rows first."""
    name = folder.resolve().name
    environment = flat(_environment(manifest, rows))
    ordered = sorted(rows, key=worst_first)
    tally = Counter(row.verdict for row in rows)
    return ReportView(
        name=name,
        title=f"{name}: {_tally(tally)}",
        summary=_summary(tally),
        facts=_run_facts(manifest, rows, environment),
        counts=_counts(tally),
        cases=tuple(_case(folder, row, environment, place) for place, row in enumerate(ordered)),
        environment=tuple(Fact(key, value) for key, value in environment.items()),
    )


def worst_first(row: Row) -> tuple[int, float, str, str]:
    """Order rows: errors, drift by the limit missed most, what cannot be compared, then matches."""
    return WORST_FIRST.index(row.verdict), -severity(row), row.case, row.variant


def _case(folder: Path, row: Row, environment: dict[str, str], place: int) -> CaseView:
    compared = settings(row)
    prompt = str(row.settings.get("prompt", ""))
    return CaseView(
        anchor=anchor(row.case, row.variant),
        case=row.case,
        variant=None if row.variant == "reference" else row.variant,
        verdict=row.verdict,
        reason=row.reason,
        is_open=row.verdict is not Verdict.MATCH and place < OPEN_AT_FIRST,
        is_rendered=row.rendered is not None,
        prompt=prompt,
        prompt_is_long=len(prompt) > LONG_PROMPT,
        headline=_headline(row),
        pictures=pictures(folder, row),
        measures=measures(row),
        limits_source=row.tolerance.source,
        codec=codec_sentence(row),
        settings=compared,
        differing=sum(line.state == "differs" for line in compared),
        facts=static_facts(row),
        provenance=provenance(row.rendered),
        environment=environment_changes(row, environment),
        curve=curve(row.rendered.sigmas, row.rendered.steps) if row.rendered else None,
        seconds=tuple(Fact(part, seconds(spent)) for part, spent in row.seconds.items()),
    )


def _headline(row: Row) -> tuple[Fact, ...]:
    scores = row.scores
    psnr = math.inf if scores is not None and scores.pixels.identical else row.psnr
    return (
        Fact("SSIM", number(row.ssim, 4)),
        Fact("LPIPS", number(row.lpips, 4)),
        Fact("PSNR", number(psnr, 1)),
    )


def _counts(tally: Counter[Verdict]) -> tuple[Count, ...]:
    total, start, counts = sum(tally.values()), 0.0, []
    for verdict in WORST_FIRST:
        share = round(100 * tally[verdict] / total, 3) if total else 0.0
        counts.append(Count(verdict, tally[verdict], round(start, 3), share))
        start += share
    return tuple(counts)


def _tally(tally: Counter[Verdict]) -> str:
    return (
        ", ".join(f"{tally[verdict]} {verdict}" for verdict in WORST_FIRST if tally[verdict]) or "no results"
    )


def _summary(tally: Counter[Verdict]) -> str:
    total = sum(tally.values())
    if total == 0:
        return "This run holds no results yet."
    if tally[Verdict.MATCH] == total:
        return (
            "The re-run matches its preview." if total == 1 else f"All {total} re-runs match their previews."
        )
    phrases = {
        Verdict.ERROR: "failed to render",
        Verdict.DRIFT: "drifted",
        Verdict.INCOMPARABLE: "cannot be compared",
    }
    parts = [f"{tally[verdict]} {phrase}" for verdict, phrase in phrases.items() if tally[verdict]]
    reruns = "re-run" if total == 1 else "re-runs"
    return f"Of {total} {reruns}, {', '.join(parts)}; {_matches(tally[Verdict.MATCH])}."


def _matches(count: int) -> str:
    return "1 matches" if count == 1 else f"{count or 'none'} match"


def _run_facts(manifest: dict[str, Any], rows: list[Row], environment: dict[str, str]) -> tuple[Fact, ...]:
    bases = sorted({row.rendered.base for row in rows if row.rendered})
    devices = sorted({row.rendered.device for row in rows if row.rendered})
    spent = sum(sum(row.seconds.values()) for row in rows)
    found = {
        "Created": moment(str(manifest.get("created", ""))),
        "Base": ", ".join(bases),
        "Device": ", ".join([*devices, *([environment["gpu.name"]] if "gpu.name" in environment else [])]),
        "Torch": environment.get("packages.torch"),
        "Diffusers": environment.get("packages.diffusers"),
        "Time": seconds(spent) if spent else None,
    }
    return tuple(Fact(name, plain(value)) for name, value in found.items() if value)


def _environment(manifest: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    found = manifest.get("environment")
    if isinstance(found, dict):
        return found
    return rows[0].environment if rows else {}
