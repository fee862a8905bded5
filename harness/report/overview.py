"""A run as its first page shows it: counts, one line per row, and the columns that filters search."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harness._util.real_paths import real_path
from harness._util.words import counts_in_words
from harness.judging.drift_origin import by_origin
from harness.judging.set_verdict import SetVerdict, judge_sets
from harness.report.formatting import moment, number, plain, seconds, slug
from harness.report.measures import severity
from harness.report.settings_table import Fact, flat_words
from harness.schema.result import REFERENCE, Row

WORST_FIRST = ("error", "regression", "drift", "incomparable", "match")
"""Verdicts in the order in which a reader should look at them."""

PHRASES = {
    "error": ("failed to render", "failed to render"),
    "regression": ("is worse than its baseline", "are worse than their baselines"),
    "drift": ("drifted", "drifted"),
    "incomparable": ("cannot be compared", "cannot be compared"),
}
"""What one re-run did, and what several did, by verdict."""

SEARCHED_PROMPT = 600
"""Characters of a prompt that the search on the first page looks at."""


@dataclass(frozen=True)
class Count:
    """How many rows have one verdict, and its place in the bar of all verdicts, 0 to 100."""

    verdict: str
    rows: int
    start: float
    share: float


@dataclass(frozen=True)
class Overview:
    """What is said of a run as a whole, and the verdicts of its jobs as wholes."""

    name: str
    title: str
    summary: str
    facts: tuple[Fact, ...]
    counts: tuple[Count, ...]
    sets: tuple[SetVerdict, ...]
    environment: dict[str, str]


def overview(folder: Path, manifest: dict[str, Any], ordered: list[Row]) -> Overview:
    """Return what the first page of a run shows beside its rows; ``ordered`` are its rows, worst first."""
    name = real_path(folder).name
    environment = flat_words(run_environment(manifest, ordered))
    tally = Counter(str(row.verdict) for row in ordered)
    return Overview(
        name=name,
        title=f"{name}: {counts_in_words(tally, WORST_FIRST) or 'no results'}",
        summary=_summary(tally),
        facts=_run_facts(manifest, ordered, environment),
        counts=_counts(tally),
        sets=tuple(judge_sets(ordered)),
        environment=environment,
    )


def worst_first(row: Row) -> tuple[int, float, str, str]:
    """Order rows: errors, then by the limit missed most, then what cannot be compared, then matches."""
    return WORST_FIRST.index(row.verdict), -severity(row), row.case, row.variant


def columns(name: str, manifest: dict[str, Any], ordered: list[Row]) -> dict[str, Any]:
    """Return what filtering, sorting and moving between rows need, as columns for a script.

    Columns that repeat are ``{"values": […], "at": […]}``: distinct values, and an index for each row.
    """
    return {
        "run": {"name": name, "created": str(manifest.get("created", ""))},
        "slug": [slug(row.case, row.variant) for row in ordered],
        "case": [row.case for row in ordered],
        "reason": [row.reason[:SEARCHED_PROMPT] for row in ordered],
        "verdict": _coded(str(row.verdict) for row in ordered),
        "variant": _coded(row.variant for row in ordered),
        "job": _coded(row.description.job or row.case for row in ordered),
        "lora": _coded(_lora(row) for row in ordered),
        "step": _coded(row.description.preview.step for row in ordered),
        "prompt": _coded(str(row.settings.get("prompt", ""))[:SEARCHED_PROMPT] for row in ordered),
        "ssim": [_rounded(row.ssim) for row in ordered],
        "lpips": [_rounded(row.lpips) for row in ordered],
        "psnr": [_rounded(_psnr(row), 2) for row in ordered],
    }


def run_environment(manifest: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Return the environment of a run as its manifest, else its first row, records it."""
    found = manifest.get("environment")
    if isinstance(found, dict):
        return found
    return rows[0].environment if rows else {}


def headline(row: Row) -> tuple[Fact, ...]:
    """Return the three scores shown beside every row."""
    return (
        Fact("SSIM", number(row.ssim, 4)),
        Fact("LPIPS", number(row.lpips, 4)),
        Fact("PSNR", number(_psnr(row), 1)),
    )


def shown_variant(row: Row) -> str | None:
    """Return the name of a row's variant; None for the reference itself."""
    return None if row.variant == REFERENCE else row.variant


def _psnr(row: Row) -> float | None:
    """Return a row's PSNR in dB, infinite where the images are identical."""
    return math.inf if row.scores is not None and row.scores.pixels.identical else row.psnr


def _lora(row: Row) -> str:
    lora = row.description.lora
    return PurePosixPath(lora.file).name if lora else "none"


def _coded(values: Iterable[Any]) -> dict[str, list[Any]]:
    places: dict[Any, int] = {}
    at = [places.setdefault(value, len(places)) for value in values]
    return {"values": list(places), "at": at}


def _rounded(value: float | None, digits: int = 4) -> float | None:
    """Round for sorting; identical images, whose PSNR is infinite, sort above all others."""
    if value is None or math.isnan(value):
        return None
    return round(value, digits) if math.isfinite(value) else 1e9


def _counts(tally: Counter[str]) -> tuple[Count, ...]:
    total, start, counts = tally.total(), 0.0, []
    for verdict in WORST_FIRST:
        share = round(100 * tally[verdict] / total, 3) if total else 0.0
        counts.append(Count(verdict, tally[verdict], round(start, 3), share))
        start += share
    return tuple(counts)


def _summary(tally: Counter[str]) -> str:
    total = tally.total()
    if total == 0:
        return "This run holds no results yet."
    if tally["match"] == total:
        return (
            "The re-run matches its preview." if total == 1 else f"All {total} re-runs match their previews."
        )
    parts = [
        f"{tally[verdict]} {phrases[tally[verdict] > 1]}"
        for verdict, phrases in PHRASES.items()
        if tally[verdict]
    ]
    reruns = "re-run" if total == 1 else "re-runs"
    return f"Of {total} {reruns}, {', '.join(parts)}; {_matches(tally['match'])}."


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
        "Baselines": _against_baselines(rows),
        "Drift from": ", ".join(f"the {origin}: {len(cases)}" for origin, cases in by_origin(rows).items()),
    }
    return tuple(Fact(name, plain(value)) for name, value in found.items() if value)


def _against_baselines(rows: list[Row]) -> str | None:
    """Say how many show the accepted image; a match that does not is never silent."""
    held = [row.baseline for row in rows if row.baseline is not None]
    changed = sum(row.changed for row in rows)
    if not held:
        return None
    equal = f"{sum(baseline.identical for baseline in held)} of {len(held)} bit-equal"
    return f"{equal}, {changed} changed within limits" if changed else equal
