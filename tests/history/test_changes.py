from __future__ import annotations

import math
import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history.changes import MIN_SEGMENT, _costs, _sigma, flickers, steps


def noisy(level: float, count: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [level + draw.gauss(0, 0.0005) for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_step_is_found_where_it_is(seed: int) -> None:
    assert steps(noisy(0.99, 15, seed) + noisy(0.98, 12, seed + 100)) == [15]


def test_two_steps() -> None:
    assert steps([0.99] * 6 + [0.97] * 5 + [0.985] * 7) == [6, 11]


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_has_no_step_of_a_hundredth(seed: int) -> None:
    series = noisy(0.99, 30, seed)
    assert all(abs(series[at] - series[at - 1]) < 0.01 for at in steps(series))
    assert steps([0.99] * 30) == []


def test_one_bad_run_is_no_new_level() -> None:
    found = steps([0.99] * 10 + [0.9] + [0.99] * 10)
    assert all(b - a >= MIN_SEGMENT for a, b in pairwise(found))


def test_too_few_runs_say_nothing() -> None:
    assert steps([]) == steps([0.9]) == steps([0.9, 0.1, 0.9]) == []


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=40), st.floats(-0.5, 0.5))
def test_steps_are_ordered_places_and_do_not_move_with_the_level(series: list[float], offset: float) -> None:
    found = steps(series)
    assert found == sorted(set(found))
    assert all(MIN_SEGMENT <= at <= len(series) - MIN_SEGMENT for at in found)


@given(st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), min_size=4, max_size=14))
def test_the_cuts_are_the_cheapest(series: list[float]) -> None:
    """No other way to cut the series, with up to three cuts, costs less."""
    price = 8.0 * _sigma(series) ** 2 * math.log(len(series))
    costs = _costs(series)

    def total(cuts: tuple[int, ...]) -> float:
        edges = [0, *cuts, len(series)]
        if any(b - a < MIN_SEGMENT for a, b in pairwise(edges)):
            return math.inf
        return sum(costs[a, b] for a, b in pairwise(edges)) + price * len(cuts)

    places = range(1, len(series))
    least = min(total(cuts) for size in range(4) for cuts in combinations(places, size))
    assert total(tuple(steps(series))) <= least + 1e-9


def test_flicker_is_two_states_and_many_switches() -> None:
    assert flickers("ababab")
    assert flickers("aabba" + "b")
    assert not flickers("aaabbb")
    assert not flickers("aba")
    assert not flickers("abcabc")
