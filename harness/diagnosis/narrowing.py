"""Bracket and narrow one number until its value is exact to what users type.

Two renders of the number span a line of images. The preview's projection onto it says where to render next: a
secant step, which is exact where the image changes in proportion and converges where it bends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from harness.diagnosis.factors import Factor
from harness.diagnosis.floor import MAX_FLOOR
from harness.diagnosis.trials import Trial, TrialRenderer, rms
from harness.sweeps.axis import Grid

MAX_RENDERS = 14
"""Renders of one number in a row."""
MAX_STRIDE = 2.0
"""A secant step goes at most so many times the distance between its two values beyond them."""
SURE = 0.85
"""Cosine below which a secant step beyond the last value says too little of how far: images change less and
less the farther two values are apart. The full stride brackets the number instead."""
MAX_REACH = 1.5
"""A number goes at most so many times beyond the largest of its usual values, and half their span below them,
but not below 0."""
PATIENCE, MAX_LEFT = 3, 0.85
"""A number of which so many values leave more than this share of the distance is given up."""
MAX_NEAR_VALUES, MAX_NEAR_LEFT = 6, 0.9
"""The same where little is missing, and rounding may hide a valley."""
MAX_ROUNDING = 10.0
"""Distance that other rounding hardly exceeds."""
MAX_GROWTH = 1.5
"""Steps go at most so many times beyond the most that were rendered: a render costs as much more."""
WIDE = 6
"""Steps of a number's grid between two values from which the middle is rendered before what is beside one."""
MAX_STEP = 2.0
"""How many times what is missing one step of a number's grid may change at most."""
MIN_PROJECTION = 0.3
"""Cosine from which a number that came no nearer yet is followed once more."""


def narrow(
    trials: TrialRenderer,
    base: Trial,
    factor: Factor,
    first: float,
    enough: Callable[[Trial], bool] = lambda _: False,
) -> Iterator[Trial]:
    """Yield renders of the number ``factor`` from ``base`` over ``first`` to the nearest value.

    The last value is identical to the preview, or was rendered with both its neighbours on the grid, where
    rounding may hide the right one with two to either side, and, unless it is ``enough``, the usual values
    beside it. A number that comes no nearer is soon given up.
    """
    assert factor.own is not None
    made = {factor.own: base}
    value: float | None = first
    while base.distance > 0 and value is not None and value not in made and len(made) <= MAX_RENDERS:
        trial = trials.attempt(factor.settings(value))
        if trial is None:
            break
        made[value] = trial
        yield trial
        if trial.distance == 0:
            break
        value = _next(trials, factor, made, enough)


def _next(
    trials: TrialRenderer, factor: Factor, made: dict[float, Trial], enough: Callable[[Trial], bool]
) -> float | None:
    """Return the value to render next, or None where the best one is final or the number leads nowhere."""
    grid = factor.axis.grid
    own = factor.own
    assert grid is not None
    assert own is not None
    best = min(made, key=lambda value: made[value].distance)
    other = min((value for value in made if value != best), key=lambda value: abs(value - best))
    place, cosine = project(trials, made[best], made[other])
    if best == own and (len(made) > 2 or abs(cosine) < MIN_PROJECTION):
        return _on_other_side(factor, made)
    if -SURE < cosine < 0 and best in {min(made), max(made)}:
        place = -MAX_STRIDE
    if best != own and _is_idle(len(made) - 1, made[best], made[own]):
        return None
    place = min(max(place, -MAX_STRIDE), MAX_STRIDE)
    start, end = grid.place(best), grid.place(other)
    low, high = reach(factor, own)
    if grid.inverse:
        high = min(high, MAX_GROWTH * max(made))
    is_near = made[own].distance <= MAX_ROUNDING
    if is_near and best in {min(made), max(made)} - {own} and abs(cosine) < SURE:
        value = own + 2 * (best - own)  # rounding hides how far it is
    else:
        value = grid.number(start + place * (end - start))
    value = grid.snap(min(max(value, low), high))
    if not is_near:
        value = _not_beside(made, best, value, grid)
    if value not in made:
        return value
    toward = grid.step if place * (other - best) >= 0 else -grid.step
    reaches = (1, 2) if made[best].distance < MAX_FLOOR else (1,)
    close = [best + sign * count * toward for count in reaches for sign in (1, -1)]
    usual = (
        []
        if enough(made[best])
        else sorted((float(value) for value in factor.values), key=lambda value: abs(value - best))
    )
    above, below = [value for value in usual if value > best], [value for value in usual if value < best]
    near = [*close, *above[:2], *below[:1]]
    return next((value for value in map(grid.snap, near) if value not in made), None)


def _not_beside(made: Mapping[float, Trial], best: float, value: float, grid: Grid) -> float:
    """Return ``value``, or the middle of a wide gap beside ``best`` that it lies at the edge of.

    A picture that is about to become another changes in leaps, and a secant step says little of how far.
    """
    beyond = [other for other in made if (other - best) * (value - best) > 0]
    far = min(beyond, key=lambda other: abs(other - best), default=best)
    is_beside = abs(value - best) < 1.5 * grid.step
    return grid.snap((best + far) / 2) if is_beside and abs(far - best) > WIDE * grid.step else value


def reach(factor: Factor, own: float) -> tuple[float, float]:
    """Return how far down and up a number goes; below 0 only where its own or a usual value is."""
    values = [own, *(float(each) for each in factor.values)]
    span = max(values) - min(values)
    below = min(values) - (span / 2 if span else math.inf)
    return max(below, min(0.0, *values)), MAX_REACH * max(values)


def _on_other_side(factor: Factor, made: dict[float, Trial]) -> float | None:
    """Return the usual value across the number's own from what was rendered, where nothing was yet.

    Estimates tell the direction in which a schedule goes, unless rounding makes most of the distance.
    """
    own = factor.own
    assert own is not None
    sides = {value > own for value in made if value != own}
    usual = [float(value) for value in factor.values if float(value) != own]
    beyond = [value for value in usual if (value > own) not in sides]
    is_known = factor.is_schedule and made[own].distance > MAX_ROUNDING
    if is_known or len(sides) > 1:
        return None
    return min(beyond, key=lambda value: abs(value - own), default=None)


def changes_more(base: Trial, trial: Trial, factor: Factor) -> bool:
    """Whether one step of a number's grid changes far more than is missing from ``base``.

    Args:
        trial: a render of another value.
    """
    grid, own = factor.axis.grid, factor.own
    if grid is None or own is None or base.distance > MAX_ROUNDING or base.image.shape != trial.image.shape:
        return False
    steps = abs(float(trial.settings[factor.axis.name]) - own) / grid.step
    return rms(base.image, trial.image) > MAX_STEP * steps * base.distance


def _is_idle(count: int, best: Trial, base: Trial) -> bool:
    """Whether the number explains next to nothing after ``count`` values."""
    left = best.distance / base.distance
    if base.distance > MAX_ROUNDING:
        return count >= PATIENCE and left > MAX_LEFT
    return count >= MAX_NEAR_VALUES and left > MAX_NEAR_LEFT


def project(trials: TrialRenderer, start: Trial, end: Trial) -> tuple[float, float]:
    """Return where between two trials the preview lies, 0 at ``start`` and 1 at ``end``, and the cosine."""
    if start.image.shape != end.image.shape:
        return 0.0, 0.0
    origin = trials.matched(start.image).astype(np.float64)
    along = trials.matched(end.image) - origin
    missing = trials.preview - origin
    length = float(np.sum(along**2))
    if length == 0 or not missing.any():
        return 0.0, 0.0
    inner = float(np.sum(along * missing))
    return inner / length, inner / float(np.sqrt(length * np.sum(missing**2)))
