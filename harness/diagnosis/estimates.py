"""Estimates that say where to look first: does a change point from the base's render to the preview?

A setting that acts in every step is seen early: the model is called once at two points of the base's
trajectory. A schedule follows the recorded trajectory to its end without a model call. Either change to the
image is compared with what is missing by the cosine between the two: a small early change shows the
direction well and the size badly. docs/diagnosis.md says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.diagnosis.factors import Factor
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.errors import HarnessError
from harness.sweeps.axis_values import Value

Change = NDArray[np.float64]
EARLY, LATE = 1 / 8, 0.6
"""Shares of the trajectory at which the model is called."""

MOST_STEPS = 2.0
"""How many times the base's steps are rendered first at most: each costs as many times a render."""


@dataclass(frozen=True)
class Estimate:
    """How well a factor points to the preview.

    Attributes:
        agreement: cosine between its change and what is missing, -1 to 1; a number's better direction.
        first: the value to render first.
        left: of a schedule, the estimated distance of each value from the preview.
    """

    factor: Factor
    agreement: float
    first: Value
    left: Mapping[Value, float] = field(default_factory=dict)


class Estimator:
    """Estimates changes on top of ``base``; its image has the preview's size."""

    def __init__(self, trials: TrialRenderer, base: Trial) -> None:
        self._trials, self._base = trials, base
        self._missing = np.subtract(trials.preview, trials.matched(base.image), dtype=np.float64)

    def estimate(self, factor: Factor) -> Estimate:
        """Return the estimate of a factor that draws no other noise."""
        if not self._trials.can_follow:
            return Estimate(factor, 0.0, factor.values[0])
        if factor.is_schedule:
            return self._followed(factor)
        if factor.own is None:
            return Estimate(factor, self._called(factor.settings(factor.values[0])), factor.values[0])
        return self._directed(factor, factor.own)

    def _followed(self, factor: Factor) -> Estimate:
        agreement, left = -1.0, {}
        for value in factor.values:
            change = self._change(factor.settings(value), None)
            if change is not None:
                agreement = max(agreement, self._cosine(change))
                left[value] = self._left(change)
        limit = MOST_STEPS * factor.own if factor.axis.name == "steps" and factor.own else math.inf
        cheap = {value: each for value, each in left.items() if factor.own is None or float(value) <= limit}
        first = min(cheap or left, key=lambda value: left[value], default=factor.values[0])
        return Estimate(factor, agreement, first, left)

    def _directed(self, factor: Factor, own: float) -> Estimate:
        """Estimate a number by one value beside its own, whose sign says in which direction to go."""
        values = sorted(float(value) for value in factor.values)
        probe = min(values, key=lambda value: (abs(value - own), value))
        agreement = self._called(factor.settings(probe))
        away = np.sign(probe - own) * (1 if agreement >= 0 else -1)
        beyond = [value for value in values if (value - own) * away > 0]
        first = min(beyond, key=lambda value: abs(value - own)) if beyond else probe
        return Estimate(factor, abs(agreement), first)

    def _called(self, settings: Settings) -> float:
        """Return the larger cosine of the two points at which the model is called."""
        steps = self._trials.request(settings).sample_steps
        found = [0.0]
        for share in (EARLY, LATE):
            change = self._change(settings, min(max(2, round(1 + share * steps)), steps - 1))
            if change is not None:
                found.append(self._cosine(change))
        return max(found, key=abs)

    def _change(self, settings: Settings, call: int | None) -> Change | None:
        try:
            image = self._trials.follow(settings, self._base, stop_after=call)
        except HarnessError as error:
            self._trials.leave_out(settings, error)
            return None
        own = self._trials.follow(self._base.settings, self._base, stop_after=call)
        return None if image.shape != own.shape else np.subtract(image, own, dtype=np.float64)

    def _cosine(self, change: Change) -> float:
        size = math.sqrt(np.vdot(change, change)) * self._length
        return float(np.vdot(change, self._missing)) / size if size > 0 else 0.0

    def _left(self, change: Change) -> float:
        """Return the root mean square of what is missing after ``change``, 0 to 255."""
        squares = self._length**2 - 2 * np.vdot(change, self._missing) + np.vdot(change, change)
        return math.sqrt(max(0.0, float(squares)) / change.size)

    @cached_property
    def _length(self) -> float:
        return math.sqrt(np.vdot(self._missing, self._missing))
