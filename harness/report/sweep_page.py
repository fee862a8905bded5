"""A case under several variants: contact sheet, heat map of two axes, sigma curves together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, groupby, islice
from pathlib import Path

from harness.report.formatting import slug
from harness.report.measures import severity
from harness.report.pictures import Link, Picture, pictures
from harness.report.sigma_chart import SigmaChart, curves
from harness.schema.result import REFERENCE, Row

PAIR = re.compile(r"([\w-]+)\s*=\s*([^,;&\s]+)")
"""One setting in the name of a variant, such as ``shift=3,scheduler=UniPC``."""

HEAT_LEVELS = 10
MAX_HEAT_MAPS = 6

REPEATED = "same render as "
"""How the reason of a row begins that a sweep did not render again."""


@dataclass(frozen=True)
class Print:
    """One picture of the contact sheet.

    Attributes:
        same: variants that rendered the same pixels, by the reason why; empty where none is known.
    """

    row: Row
    same: dict[str, list[str]]
    picture: Picture | None
    is_best: bool


@dataclass(frozen=True)
class Cell:
    """The best SSIM of one pair of values, and its level from 0 (worst of the map) to 9 (best)."""

    ssim: str
    level: int
    slug: str
    is_best: bool


@dataclass(frozen=True)
class Heat:
    """SSIM over two axes; a cell is None where no variant has the pair."""

    across: str
    down: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


@dataclass(frozen=True)
class Sweep:
    """A case's variants, best first."""

    slug: str
    case: str
    prompt: str
    summary: str
    preview: Picture
    prints: tuple[Print, ...]
    heats: tuple[Heat, ...]
    curves: SigmaChart | None


def sweeps(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of every case that was rendered under more than one variant, by case."""
    ordered = sorted(rows, key=lambda row: (row.case, row.variant))
    grouped = {case: list(group) for case, group in groupby(ordered, key=lambda row: row.case)}
    return {case: group for case, group in grouped.items() if len(group) > 1}


def sweep_slug(case: str) -> str:
    """Return the name of a case's sweep page; no row's page can have it."""
    return f"{slug(case)}~sweep"


def sweep_view(folder: Path, rows: list[Row], link: Link) -> Sweep:
    """Return what the sweep page of one case shows.

    Args:
        rows: the case's rows, at least two.
        link: turns the path of an image in the run folder into an address.
    """
    ordered = sorted(rows, key=_closeness)
    best = ordered[0] if ordered[0].scores is not None else None
    distinct = _merged(ordered)
    schedules = {
        row.rendered.sigmas_sha256: (row.variant, row.rendered.sigmas)
        for row, _ in reversed(distinct)
        if row.rendered is not None
    }
    return Sweep(
        slug=sweep_slug(rows[0].case),
        case=rows[0].case,
        prompt=str(rows[0].settings.get("prompt", "")),
        summary=_summary(ordered, len(distinct), best),
        preview=pictures(folder, rows[0], link)[0],
        prints=tuple(_print(folder, row, same, link, best) for row, same in distinct),
        heats=heat_maps(ordered, best),
        curves=curves(list(schedules.values())[::-1]),
    )


def heat_maps(rows: list[Row], best: Row | None) -> tuple[Heat, ...]:
    """Return SSIM over every two axes that vary together, those with the most values first.

    Args:
        rows: one case's rows, nearest first; of several with one pair of values the first counts.
    """
    settings = {row.variant: dict(PAIR.findall(row.variant)) for row in rows}
    scored = [(settings[row.variant], row) for row in rows if row.ssim is not None]
    pairs = islice(combinations(_varying(settings.values()), 2), MAX_HEAT_MAPS)
    maps = (_heat_map(scored, across, down, best) for across, down in pairs)
    return tuple(heat for heat in maps if heat is not None)


def _heat_map(
    scored: list[tuple[dict[str, str], Row]], across: str, down: str, best: Row | None
) -> Heat | None:
    at: dict[tuple[str, str], Row] = {}
    for settings, row in scored:
        if across in settings and down in settings:
            at.setdefault((settings[down], settings[across]), row)
    columns = sorted({column for _, column in at}, key=_numeric)
    lines = sorted({line for line, _ in at}, key=_numeric)
    if len(columns) < 2 or len(lines) < 2:
        return None
    found = [row.ssim or 0.0 for row in at.values()]
    scale = min(found), max(found)
    return Heat(
        across,
        down,
        tuple(columns),
        tuple(
            (line, tuple(_cell(at.get((line, column)), scale, best) for column in columns)) for line in lines
        ),
    )


def _varying(settings: Iterable[dict[str, str]]) -> list[str]:
    """Return the names of the axes with several values, those with the most first."""
    values: dict[str, set[str]] = {}
    for pairs in settings:
        for axis, value in pairs.items():
            values.setdefault(axis, set()).add(value)
    return sorted((axis for axis in values if len(values[axis]) > 1), key=lambda axis: -len(values[axis]))


def _closeness(row: Row) -> tuple[bool, float, str]:
    return row.scores is None, severity(row), row.variant


def _merged(ordered: list[Row]) -> list[tuple[Row, list[Row]]]:
    """Join rows whose re-runs are the same pixels to the one that was rendered."""
    seen: dict[str, list[Row]] = {}
    for row in sorted(ordered, key=lambda row: (row.reason.startswith(REPEATED), row.variant != REFERENCE)):
        seen.setdefault(_pixels(row), []).append(row)
    merged = [(first, others) for first, *others in seen.values()]
    return sorted(merged, key=lambda pair: _closeness(pair[0]))


def _by_reason(same: list[Row]) -> dict[str, list[str]]:
    """Return merged variants, with why their render is the same where a sweep said so."""
    found: dict[str, list[str]] = {}
    for row in same:
        why = row.reason.partition(": ")[2].partition(";")[0] if row.reason.startswith(REPEATED) else ""
        found.setdefault(why, []).append(row.variant)
    return found


def _print(folder: Path, row: Row, same: list[Row], link: Link, best: Row | None) -> Print:
    shown = {picture.name: picture for picture in pictures(folder, row, link)}
    is_best = best is not None and best.variant in {row.variant, *(each.variant for each in same)}
    return Print(row, _by_reason(same), shown.get("rerun"), is_best)


def _cell(row: Row | None, scale: tuple[float, float], best: Row | None) -> Cell | None:
    if row is None or row.ssim is None:
        return None
    low, high = scale
    share = (row.ssim - low) / (high - low) if high > low else 1.0
    level = min(HEAT_LEVELS - 1, int(share * HEAT_LEVELS))
    is_best = best is not None and _pixels(row) == _pixels(best)
    return Cell(f"{row.ssim:.4f}", level, slug(row.case, row.variant), is_best)


def _pixels(row: Row) -> str:
    """Return what identifies the pixels of a row."""
    return row.image_sha256 or row.variant


def _numeric(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def _summary(rows: list[Row], distinct: int, best: Row | None) -> str:
    text = f"{len(rows)} variants, {distinct} different renders"
    return f"{text}; nearest to the preview: {best.variant}, SSIM {best.ssim:.4f}" if best else text
