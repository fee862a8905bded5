"""The page over all runs: every case's SSIM from run to run, with limit, baseline and detected steps."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from harness._util.atomic_files import disk_errors_as
from harness.errors import HarnessError, RunError
from harness.history.timeline import Observation, Series, read_history
from harness.report.formatting import number, slug
from harness.report.overview import WORST_FIRST
from harness.report.page import inlined_page, render
from harness.report.report_files import Output
from harness.report.settings_table import environment_changes, flat_words

HISTORY, INDEX = "history.html", "index.html"
MAX_CHARTS = 300
"""Series that get a chart, those with findings first; the others are only counted."""

WIDTH, HEIGHT = 1000, 100
LEFT, RIGHT, TOP, BOTTOM = 10, 10, 6, 6
"""Of a drawing that the page stretches to the width that it has; lines and dots keep their size."""
MIN_SPAN = 0.002
"""Range of SSIM that a chart shows at least, so that noise does not look like a cliff."""


@dataclass(frozen=True)
class Point:
    """One run in the chart's coordinates.

    Attributes:
        changes: what changed in the environment since the run before, in words.
        href: address of the case's page in the run.
    """

    x: float
    y: float | None
    observation: Observation
    changes: tuple[str, ...]
    is_step: bool
    href: str


@dataclass(frozen=True)
class Chart:
    """One case on one kind of machine.

    Attributes:
        lines: SVG ``points`` of every unbroken stretch; a run without a score breaks the line.
        limit: height of the SSIM limit of the last run, None where it is outside the chart.
        baseline: the same of the accepted SSIM.
        levels: limit and baseline in words.
        high: highest SSIM that is drawn.
        low: lowest SSIM that is drawn.
        band: width of an observation.
    """

    series: Series
    findings: list[str]
    points: tuple[Point, ...]
    lines: tuple[str, ...]
    limit: float | None
    baseline: float | None
    levels: str
    high: float
    low: float
    band: float
    width: int = WIDTH
    height: int = HEIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def summary(self) -> str:
        """The chart in words."""
        return f"SSIM of {self.series.case} over {len(self.points)} runs: {self.found}; {self.levels}."

    @property
    def found(self) -> str:
        """What the series shows, in words."""
        scored = sum(point.y is not None for point in self.points)
        if scored < 2:
            return "one run, nothing to compare it with" if scored else "no score in any run"
        return "; ".join(self.findings) or "holds its level"

    @property
    def steps(self) -> tuple[Point, ...]:
        """The runs at which the level changed."""
        return tuple(point for point in self.points if point.is_step)


def _moved_first(chart: Chart) -> tuple[bool, int, str, str]:
    series = chart.series
    verdict = series.observations[-1].row.verdict
    return not chart.findings, WORST_FIRST.index(verdict), series.case, series.environment


def build_history(root: str | os.PathLike[str], *, damaged: list[HarnessError] | None = None) -> Path:
    """Write ``history.html`` over all runs directly under ``root``; returns its path.

    Args:
        damaged: takes what is wrong with each run that cannot be read; the page names them, and shows the
            others. None raises the first one.

    Raises:
        RunError: no run is there, a run cannot be read, or the page cannot be written.
    """
    root = Path(root)
    history = read_history(root, damaged=damaged)
    charts = sorted(map(chart, history), key=_moved_first)
    html = render(
        "history.html",
        charts=charts[:MAX_CHARTS],
        left_out=len(charts) - MAX_CHARTS,
        runs=_tallies(history),
        reported={path.parent.name for path in root.glob(f"*/{INDEX}")},
        damaged=[f"{str(each.file).removeprefix(f'{root}/')}: {each.found}" for each in damaged or ()],
        verdicts=WORST_FIRST,
        stepped=sum(bool(each.findings) for each in charts),
        page=inlined_page("history"),
    )
    with disk_errors_as(RunError, "cannot be written", file=root / HISTORY):
        return Output(root).write(HISTORY, html)


def _tallies(history: list[Series]) -> list[tuple[tuple[str, str], Counter[str]]]:
    """Return when each run was made, its name, and how many of its cases have each verdict; latest first."""
    tallies: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for series in history:
        for observation in series.observations:
            tallies[observation.created, observation.run][observation.row.verdict] += 1
    return sorted(tallies.items(), reverse=True)


def chart(series: Series) -> Chart:
    """Lay out one series."""
    scores = [observation.row.ssim for observation in series.observations]
    last = series.observations[-1].row
    accepted = last.baseline.scores.ssim if last.baseline and last.baseline.scores else None
    low, high = _range([score for score in (*scores, accepted) if score is not None])

    def height(ssim: float | None) -> float | None:
        if ssim is None or not low <= ssim <= high:
            return None
        return round(TOP + (high - ssim) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    previous = [None, *series.observations[:-1]]
    points = tuple(
        Point(
            x=_x(place, len(scores)),
            y=height(observation.row.ssim),
            observation=observation,
            changes=_changes(before, observation),
            is_step=place in series.steps,
            href=f"{quote(observation.run)}/cases/{slug(observation.row.case, observation.row.variant)}.html",
        )
        for place, (before, observation) in enumerate(zip(previous, series.observations, strict=True))
    )
    return Chart(
        series=series,
        findings=series.findings(),
        points=points,
        lines=_stretches(points),
        limit=height(last.tolerance.ssim_min),
        baseline=height(accepted),
        levels=f"limit {last.tolerance.ssim_min:g}"
        + (f", baseline {number(accepted, 4)}" if accepted is not None else ", no baseline"),
        high=high,
        low=low,
        band=round((WIDTH - LEFT - RIGHT) / max(1, len(scores) - 1), 1),
    )


def _range(scores: list[float]) -> tuple[float, float]:
    """Return the lowest and highest SSIM that a chart shows."""
    if not scores:
        return 0.0, 1.0
    low, high = min(scores), max(scores)
    short = max(0.0, MIN_SPAN - (high - low)) / 2
    high = min(1.0, high + short) if high <= 1 else high
    return min(low - short, high - MIN_SPAN), high


def _x(place: int, count: int) -> float:
    return round(LEFT + (place / (count - 1) if count > 1 else 0.5) * (WIDTH - LEFT - RIGHT), 1)


def _changes(before: Observation | None, after: Observation) -> tuple[str, ...]:
    """Say what changed in the environment since the run before."""
    if before is None:
        return ()
    changes = environment_changes(after.row, flat_words(before.row.environment))
    return tuple(f"{line.name} {line.recorded} → {line.rendered}" for line in changes)


def _stretches(points: tuple[Point, ...]) -> tuple[str, ...]:
    pairs = [(a, b) for a, b in pairwise(points) if a.y is not None and b.y is not None]
    return tuple(f"{a.x:g},{a.y:g} {b.x:g},{b.y:g}" for a, b in pairs)
