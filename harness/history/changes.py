"""Find steps and two-state flicker in a series of scores: pure, numbers in, places out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTY = 8.0
"""A larger one finds fewer changes."""

MIN_SIGMA = 2e-4
"""Standard deviation assumed at least; below it a score's last digits would count as steps."""

MIN_SWITCHES = 3
"""Changes between the same two states from which on they are called flicker."""

MIN_SEGMENT = 2
"""Runs that a new level must hold before it is called a step."""


def steps(series: Sequence[float]) -> list[int]:
    """Return the indices at which the level of ``series`` changes; each starts a new segment.

    Least squares with a price for every change, ``PENALTY · σ² · log n``, solved exactly: optimal
    partitioning (Jackson et al. 2005, An algorithm for optimal partitioning of data on an interval) as the
    shortest path from the first index to the last. σ comes from differences of neighbours, which steps
    hardly move.

    Args:
        series: scores in order of time; not-a-number is not allowed.
    """
    from scipy.sparse.csgraph import dijkstra

    count = len(series)
    if count < 2 * MIN_SEGMENT:
        return []
    price = PENALTY * _sigma(series) ** 2 * math.log(count)
    _, previous = dijkstra(_costs(series) + price, indices=0, return_predecessors=True)
    found = [count]
    while found[-1] > 0:
        found.append(int(previous[found[-1]]))
    return found[-2:0:-1]


def flickers(states: Sequence[Hashable]) -> bool:
    """Say whether a series only flips between two states, often enough to be no step.

    Args:
        states: image hashes in order of time, or scores rounded to what counts as equal.
    """
    switches = sum(before != after for before, after in pairwise(states))
    return len(set(states)) == 2 and switches >= MIN_SWITCHES


def _sigma(series: Sequence[float]) -> float:
    """Return σ from differences of neighbours: median / 0.954 is σ for normal noise (√2 · 0.6745)."""
    differences = sorted(abs(after - before) for before, after in pairwise(series))
    return max(differences[len(differences) // 2] / (math.sqrt(2) * 0.6745), MIN_SIGMA)


def _costs(series: Sequence[float]) -> NDArray[np.float64]:
    """Return the squared deviations from its mean of every segment ``[start:end]``; infinite if too short."""
    values = np.asarray(series) - series[0]
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (values, values**2))
    start, end = np.indices((len(sums), len(sums)))
    length = end - start
    total = sums[end] - sums[start]
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = np.maximum(squares[end] - squares[start] - total**2 / length, 0)
    return np.where(length >= MIN_SEGMENT, costs, np.inf)
