"""Sigma schedules as a small line chart, laid out at build time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.formatting import number

WIDTH, HEIGHT = 320, 132
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 22

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SigmaChart:
    """Sigmas over the share of steps done, in the coordinates of a ``WIDTH`` by ``HEIGHT`` drawing.

    Attributes:
        lines: name and SVG ``points`` of each schedule; the first one is drawn on top.
        points: one (x, y) per sigma of the first schedule; empty where there are several.
        unshifted: SVG ``points`` of equally spaced sigmas, to compare one schedule with.
        ticks: (x, label) of steps.
        summary: the chart in words.
        values: every sigma of a single schedule, in words.
        grid: (y, label) of horizontal lines.
    """

    lines: tuple[tuple[str, str], ...]
    summary: str
    points: Points = ()
    unshifted: str = ""
    ticks: tuple[tuple[float, str], ...] = ()
    values: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @property
    def grid(self) -> tuple[tuple[float, str], ...]:
        """Height and label of the horizontal lines."""
        return tuple((_y(sigma), f"{sigma:g}") for sigma in (0.0, 0.5, 1.0))


def curves(schedules: list[tuple[str, list[float]]]) -> SigmaChart | None:
    """Return several schedules in one chart; None where fewer than two can be drawn.

    Args:
        schedules: a name and its sigmas, each from 1 (all noise) to 0.
    """
    drawn = [(name, sigmas) for name, sigmas in schedules if len(sigmas) > 1]
    if len(drawn) < 2:
        return None
    middles = "; ".join(f"{name} {number(sigmas[len(sigmas) // 2], 3)}" for name, sigmas in drawn)
    return SigmaChart(
        lines=tuple((name, _line(_points(sigmas))) for name, sigmas in drawn),
        summary=f"Sigma over the share of steps, {len(drawn)} schedules. Half-way: {middles}.",
    )


def curve(sigmas: list[float], sampled: int) -> SigmaChart | None:
    """Return the chart of a schedule; None where there is nothing to draw.

    Args:
        sigmas: noise levels, 1 (all noise) to 0, the closing 0 included where the scheduler has one.
        sampled: how many denoising steps were made.
    """
    if len(sigmas) < 2:
        return None
    last = len(sigmas) - 1
    points = _points(sigmas)
    return SigmaChart(
        lines=(("", _line(points)),),
        points=points,
        unshifted=_line(_points([1.0, 0.0])),
        ticks=tuple((points[step][0], str(step)) for step in sorted({0, last // 2, last})),
        summary=f"Sigma over {sampled} steps, from {number(sigmas[0], 3)} to {number(sigmas[-1], 3)}; "
        f"after step {last // 2} it is {number(sigmas[last // 2], 3)}.",
        values=", ".join(number(sigma, 4) for sigma in sigmas),
    )


def _points(sigmas: Sequence[float]) -> Points:
    last = len(sigmas) - 1
    return tuple(
        (round(LEFT + step / last * (WIDTH - LEFT - RIGHT), 1), _y(sigma))
        for step, sigma in enumerate(sigmas)
    )


def _y(sigma: float) -> float:
    """Return the height of a sigma; values outside 0 to 1 are drawn at the edge."""
    return round(TOP + (1 - min(1.0, max(0.0, sigma))) * (HEIGHT - TOP - BOTTOM), 1)


def _line(points: Points) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
