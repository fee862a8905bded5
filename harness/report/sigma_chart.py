"""The sigma schedule as a small line chart, laid out at build time."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.formatting import number

WIDTH, HEIGHT = 320, 132
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 22


@dataclass(frozen=True)
class Curve:
    """A chart of sigma over steps, in the coordinates of a ``WIDTH`` by ``HEIGHT`` drawing.

    Attributes:
        points: one (x, y) per sigma.
        line: the same as an SVG ``points`` attribute.
        unshifted: equally spaced sigmas, to compare with.
        grid: (y, label) of horizontal lines.
        ticks: (x, label) of steps.
        summary: the chart in words.
        values: every sigma, in words.
    """

    width: int
    height: int
    left: int
    right: int
    bottom: int
    points: tuple[tuple[float, float], ...]
    line: str
    unshifted: str
    grid: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    summary: str
    values: str


@dataclass(frozen=True)
class Curves:
    """Several schedules in one chart of the same size, the first one on top of the others.

    Attributes:
        lines: name and SVG ``points`` of each.
        summary: the chart in words.
    """

    width: int
    height: int
    left: int
    right: int
    bottom: int
    lines: tuple[tuple[str, str], ...]
    grid: tuple[tuple[float, str], ...]
    summary: str


def curves(schedules: list[tuple[str, list[float]]]) -> Curves | None:
    """Return several schedules over the share of the steps done; None where fewer than two can be drawn.

    Args:
        schedules: a name and its sigmas, each from 1 (all noise) to 0.
    """
    drawn = [(name, sigmas) for name, sigmas in schedules if len(sigmas) > 1]
    if len(drawn) < 2:
        return None
    middles = "; ".join(f"{name} {number(sigmas[len(sigmas) // 2], 3)}" for name, sigmas in drawn)
    return Curves(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        lines=tuple((name, _line(_points(sigmas))) for name, sigmas in drawn),
        grid=GRID,
        summary=f"Sigma over the share of steps, {len(drawn)} schedules. Half-way: {middles}.",
    )


def curve(sigmas: list[float], sampled: int) -> Curve | None:
    """Return the chart of a schedule; None where there is nothing to draw.

    Args:
        sigmas: noise levels, 1 (all noise) to 0, the closing 0 included where the scheduler has one.
        sampled: how many denoising steps were made.
    """
    if len(sigmas) < 2:
        return None
    last = len(sigmas) - 1
    points = _points(sigmas)
    straight = [(_x(0.0), _y(1.0)), (_x(1.0), _y(0.0))]
    return Curve(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        points=points,
        line=_line(points),
        unshifted=_line(straight),
        grid=GRID,
        ticks=tuple((_x(step / last), str(step)) for step in sorted({0, last // 2, last})),
        summary=f"Sigma over {sampled} steps, from {number(sigmas[0], 3)} to {number(sigmas[-1], 3)}; "
        f"after step {last // 2} it is {number(sigmas[last // 2], 3)}.",
        values=", ".join(number(sigma, 4) for sigma in sigmas),
    )


def _points(sigmas: list[float]) -> tuple[tuple[float, float], ...]:
    last = len(sigmas) - 1
    return tuple((_x(step / last), _y(sigma)) for step, sigma in enumerate(sigmas))


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(sigma: float) -> float:
    """Return the height of a sigma; what lies outside 0 to 1 is drawn at the edge."""
    return round(TOP + (1 - min(1.0, max(0.0, sigma))) * (HEIGHT - TOP - BOTTOM), 1)


def _line(points: tuple[tuple[float, float], ...] | list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


GRID = tuple((_y(sigma), f"{sigma:g}") for sigma in (0.0, 0.5, 1.0))
"""Height and label of the horizontal lines."""
