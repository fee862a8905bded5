"""Find steps and two-state flicker in a series of scores: pure, numbers in, places out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise

LEAST_SPREAD = 2e-4
"""Standard deviation assumed at least; below it a score's last digits would count as steps."""

SWITCHES = 3
"""Changes between the same two states from which on they are called flicker."""

NIGHTS_TO_SETTLE = 2
"""A new level must hold for so many runs before it is called a step."""


def steps(series: Sequence[float], penalty: float = 8.0) -> list[int]:
    """Return the indices at which the level of ``series`` changes; each starts a new segment.

    Least squares with a price for every change, solved exactly: optimal partitioning (Jackson et al. 2005,
    An algorithm for optimal partitioning of data on an interval), with the price ``penalty · σ² · log n``.
    σ comes from differences of neighbours, which steps hardly move.

    Args:
        series: scores in order of time; not-a-number is not allowed.
        penalty: larger finds fewer changes.
    """
    count = len(series)
    if count < 2 * NIGHTS_TO_SETTLE:
        return []
    price = penalty * _spread(series) ** 2 * math.log(count)
    sums, squares = _cumulated(series)
    best, last = [-price] + [math.inf] * count, [0] * (count + 1)
    for end in range(NIGHTS_TO_SETTLE, count + 1):
        costs = {
            start: best[start] + _cost(sums, squares, start, end)
            for start in range(end - NIGHTS_TO_SETTLE + 1)
        }
        last[end] = min(costs, key=lambda start: costs[start])
        best[end] = costs[last[end]] + price
    return _path(last, count)


def flickers(states: Sequence[Hashable]) -> bool:
    """Say whether a series only flips between two states, often enough to be no step.

    Args:
        states: image hashes in order of time, or scores rounded to what counts as equal.
    """
    switches = sum(before != after for before, after in pairwise(states))
    return len(set(states)) == 2 and switches >= SWITCHES


def _spread(series: Sequence[float]) -> float:
    """Return σ from differences of neighbours: median / 0.954 is σ for normal noise (√2 · 0.6745)."""
    differences = sorted(abs(after - before) for before, after in pairwise(series))
    return max(differences[len(differences) // 2] / (math.sqrt(2) * 0.6745), LEAST_SPREAD)


def _cumulated(series: Sequence[float]) -> tuple[list[float], list[float]]:
    middle = series[0]
    sums, squares = [0.0], [0.0]
    for value in series:
        sums.append(sums[-1] + value - middle)
        squares.append(squares[-1] + (value - middle) ** 2)
    return sums, squares


def _cost(sums: list[float], squares: list[float], start: int, end: int) -> float:
    """Return the sum of squared deviations from the mean of ``series[start:end]``."""
    total = sums[end] - sums[start]
    return squares[end] - squares[start] - total * total / (end - start)


def _path(last: list[int], end: int) -> list[int]:
    found = []
    while end > 0:
        end = last[end]
        found.append(end)
    return sorted(index for index in found if index > 0)
