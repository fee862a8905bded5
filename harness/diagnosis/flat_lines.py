"""Numbers that change less than rounding does, so that no distance says which of their values is right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.one_shift import SHIFTS, ShiftLine
from harness.diagnosis.trials import Settings, Trial, TrialRenderer

ENDED = 2.0
"""How much farther than a trial two values of a number are for those beyond them to be left out."""
ALIKE = 1.1
"""How much farther than a trial the best value of a number that changes next to nothing may be."""
MAX_LINES = 2
"""Flat numbers at most that point to anything: where more are, something else makes the distance."""


def on_flat_lines(trials: TrialRenderer, bases: list[Settings], plain: Trial) -> list[Settings]:
    """Return the usual values left, on each base, of numbers that leave about what ``plain`` leaves.

    What lies beyond two values that are far is left out. Those of the nearest number come first.
    """
    found = [line for base in bases for line in _flat(trials, base, plain)]
    return [settings for _, line in sorted(found, key=lambda each: each[0]) for settings in line]


def on_few_flat_lines(trials: TrialRenderer, base: Trial) -> list[Settings]:
    """Return the usual values left of one or two numbers that alone leave about what ``base`` leaves."""
    found = sorted(_flat(trials, base.settings, base), key=lambda each: each[0])
    return [settings for _, line in found for settings in line] if len(found) <= MAX_LINES else []


def _flat(trials: TrialRenderer, base: Settings, plain: Trial) -> Iterator[tuple[float, list[Settings]]]:
    """Yield, for each flat number, the distance of its best value and the settings that are left."""
    made = {trials.effective(each.settings): each.distance for each in trials.made}
    for factor in factors(trials, base, lambda axis: axis.grid is not None):
        values = {float(value): factor.settings(value) for value in factor.values}
        keys = {value: trials.effective(settings) for value, settings in values.items()}
        near = {value: made[key] for value, key in keys.items() if key in made}
        best = min(near, key=lambda value: near[value], default=None)
        if best is not None and near[best] < ALIKE * plain.distance:
            low, high = _within_reach(_line(trials, factor), best, ENDED * plain.distance)
            inner = [value for value in values.keys() - near.keys() if low < value < high]
            inner.sort(key=lambda value: abs(value - best))
            left = [values[value] for value in inner]
            yield (
                near[best],
                _shifted_as_far(trials, base, plain, left) if factor.axis.name in SHIFTS else left,
            )


def _shifted_as_far(
    trials: TrialRenderer, base: Settings, plain: Trial, found: list[Settings]
) -> list[Settings]:
    """Return those of ``found`` that shift the schedule no farther than what was rendered and is far."""
    own = trials.attempt(base)
    within = [] if own is None else ShiftLine(trials, own).usual_within(ENDED * plain.distance)
    return [each for each in found if each in within]


def _line(trials: TrialRenderer, factor: Factor) -> dict[float, float]:
    """Return the distance of each value of a number that was rendered on the factor's base."""
    name, axes = factor.axis.name, factor.settings(factor.values[0]).keys()
    line = [each for each in trials.made if each.settings.keys() == axes]
    on_base = [each for each in line if factor.base.items() <= each.settings.items()]
    return {float(each.settings[name]): each.distance for each in on_base}


def _within_reach(line: Mapping[float, float], best: float, far: float) -> tuple[float, float]:
    """Return the second values on either side of ``best`` that are farther than ``far``."""
    ends = [value for value, distance in line.items() if distance > far]
    below = sorted((value for value in ends if value < best), reverse=True)
    above = sorted(value for value in ends if value > best)
    return below[1] if len(below) > 1 else -math.inf, above[1] if len(above) > 1 else math.inf
