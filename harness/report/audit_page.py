"""A page for an audit: keys by loader, histograms of what survives, and every layer. One file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness._util.atomic_files import write_text
from harness.precision.audit import Audit
from harness.precision.audit_text import left_out, losses
from harness.precision.survival import WAYS, Way
from harness.report.page import inlined_page, render

BINS = 20
WIDTH, HEIGHT, FOOT = 320, 100, 18
"""Size of a histogram's drawing, and the room below it for its labels."""


@dataclass(frozen=True)
class Histogram:
    """How many layers keep which share of their change, for one quantizer and way.

    Attributes:
        bars: (x, y, width, height) of a drawing ``WIDTH`` by ``HEIGHT`` + ``FOOT``.
        summary: the same in words.
    """

    title: str
    bars: tuple[tuple[float, float, float, float], ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    foot: int = FOOT


def write_audit_page(found: Audit, out: str | os.PathLike[str]) -> Path:
    """Write the page and return its path."""
    out = Path(out)
    write_text(
        out,
        render(
            "audit.html",
            audit=found,
            histograms=histograms(found),
            losses=list(losses(found)),
            left_out=list(left_out(found)),
            ways=WAYS,
            page=inlined_page("audit"),
        ),
    )
    return out


def histograms(found: Audit) -> list[Histogram]:
    """Return one histogram over layers for each quantizer and way."""
    return [_histogram(f"{name}, {way}", _shares(found, (name, way))) for name, way in found.total]


def _shares(found: Audit, key: tuple[str, Way]) -> list[float]:
    """Return what survives in every layer that was measured so; a GGUF's layers differ in type."""
    return [layer.applied[key].share for layer in found.layers if key in layer.applied]


def _histogram(title: str, shares: list[float]) -> Histogram:
    counts = [0] * BINS
    for share in shares:
        counts[min(BINS - 1, max(0, int(share * BINS)))] += 1
    step, most = WIDTH / BINS, max(counts)
    bars = tuple(
        (
            round(place * step, 2),
            round(HEIGHT * (1 - count / most), 2),
            step - 1,
            round(HEIGHT * count / most, 2),
        )
        for place, count in enumerate(counts)
        if count
    )
    middle = sorted(shares)[len(shares) // 2]
    kept = f"{min(shares):.0%} to {max(shares):.0%} of their change, half of them at least {middle:.0%}"
    summary = f"{len(shares)} layers keep {kept}"
    return Histogram(title, bars, summary)
