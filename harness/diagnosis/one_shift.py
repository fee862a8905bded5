"""Static and dynamic shift are one number: they move the same schedule, and one imitates another.

How far a schedule is shifted is told by the logit of its middle sigma. Along it the values of all four axes
lie on one line, so that a render of one says where on the others the preview lies.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence

from harness.diagnosis.narrowing import MAX_ROUNDING, MAX_STEP, MIN_PROJECTION, SURE, project
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, rms
from harness.errors import HarnessError
from harness.pipeline.schedulers import choose_scheduler
from harness.pipeline.sigma_schedules import sigmas_of
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import Value

SHIFTS = ("dynamic_shifting", "base_shift", "max_shift", "shift")
"""The axes that shift a schedule, the likeliest first."""
BEYOND = 5
"""Steps of an axis's grid beyond the first and last usual value that are still looked at."""
USUAL_WITHIN = 0.035
"""How much farther on the line, in logits, a usual value may be than the nearest to be rendered before it."""
APART = 0.04
"""Distance on the line, in logits, from which two renders say in which direction the preview lies."""
STRIDE = 2.0
"""A step goes at most so many times the distance between two values beyond the nearer one."""
MAX_IDLE = 6
"""Values in a row that come no nearer, after which no more follow."""
PATIENCE, LEFT = 3, 0.85
"""The line is given up where so many values leave more than this share of the distance."""
NEAR_PATIENCE, NEAR_LEFT = 5, 0.9
"""The same where little is missing, and rounding may hide a valley."""


class ShiftLine:
    """The values of all axes that shift the schedule, on top of ``base``, in the order of their shift."""

    def __init__(self, trials: TrialRenderer, base: Trial) -> None:
        self._trials, self._base = trials, base
        self._own = self._place(base.settings)
        placed = [(self._place(settings), is_usual, settings) for settings, is_usual in self._candidates()]
        self._values = [each for each in placed if not math.isnan(each[0])]

    def may_hold(self, settings: Settings) -> bool:
        """Whether the preview may lie at a value: it is not beyond what was rendered and leaves more."""
        low, high = self._valley(self._made())
        return low <= self._place(settings) <= high

    def moves_too_far(self, trial: Trial) -> bool:
        """Whether the smallest step along the line changes far more than is missing from the base."""
        steps = sorted({abs(place - self._own) for place, _, _ in self._values} - {0.0})
        away = abs(self._place(trial.settings) - self._own)
        if not steps or away == 0 or self._base.distance > MAX_ROUNDING:
            return False
        return rms(self._base.image, trial.image) * steps[0] / away > MAX_STEP * self._base.distance

    def narrow(
        self, enough: Callable[[Trial], bool] = lambda _: False, patience: int = MAX_IDLE
    ) -> Iterator[Trial]:
        """Yield renders from what was made on the line to what is nearest to the preview.

        It ends after ``patience`` renders in a row that come no nearer. One step has no shift.
        """
        idle = 0
        while idle < patience and not math.isnan(self._own):
            made = self._made()
            best = min(made.values(), key=lambda trial: trial.distance)
            settings = None if best.distance == 0 or self._is_idle(made, best) else self._next(made, enough)
            trial = None if settings is None else self._trials.attempt(settings)
            if trial is None:
                return
            idle = 0 if trial.distance < best.distance else idle + 1
            yield trial

    def usual_within(self, limit: float) -> list[Settings]:
        """Return the usual values left between those that were rendered and are farther than ``limit``.

        Those of about the base's shift come first.
        """
        far = [place for place, trial in self._made().items() if trial.distance > limit]
        low = max((place for place in far if place < self._own), default=-math.inf)
        high = min((place for place in far if place > self._own), default=math.inf)
        left = [(place, settings) for place, is_usual, settings in self._values if is_usual]
        left = [each for each in left if low < each[0] < high and not self._trials.is_made(each[1])]
        return [settings for _, settings in sorted(left, key=lambda each: abs(each[0] - self._own))]

    def _next(self, made: dict[float, Trial], enough: Callable[[Trial], bool]) -> Settings | None:
        best = min(made, key=lambda place: made[place].distance)
        others = [place for place in made if place != best]
        if not others:
            return None
        other = min(others, key=lambda place: (abs(place - best) < APART, abs(place - best)))
        share, cosine = project(self._trials, made[best], made[other])
        is_edge = best in {min(made), max(made)}
        if is_edge and abs(cosine) < SURE and (best != self._own or abs(cosine) < MIN_PROJECTION):
            share = -1.0  # rounding hides how far it is
        wanted = best + min(max(share, -STRIDE), STRIDE) * (other - best)
        low, high = self._valley(made)
        left = [each for each in self._values if each[0] not in made and low < each[0] < high]
        if enough(made[best]):
            left = [each for each in left if each[1]]
        nearest = min((abs(place - wanted) for place, _, _ in left), default=math.inf)
        about = [each for each in left if abs(each[0] - wanted) <= nearest + USUAL_WITHIN]
        return min(about, key=lambda each: (not each[1], abs(each[0] - wanted)), default=(0, 0, None))[2]

    def _is_idle(self, made: dict[float, Trial], best: Trial) -> bool:
        left, count = best.distance / self._base.distance, len({round(place / APART) for place in made})
        if self._base.distance > MAX_ROUNDING:
            return count > PATIENCE and left > LEFT
        return count > NEAR_PATIENCE and left > NEAR_LEFT

    def _made(self) -> dict[float, Trial]:
        """Return the trials on the line by their place."""
        base = self._base.settings
        found = {self._own: self._base}
        for trial in self._trials.made:
            if base.items() <= trial.settings.items() and trial.settings.keys() - base.keys() <= set(SHIFTS):
                found.setdefault(self._place(trial.settings), trial)
        return {place: trial for place, trial in found.items() if math.isfinite(trial.distance)}

    def _valley(self, made: dict[float, Trial]) -> tuple[float, float]:
        """Return the places beside the nearest trial: without rounding, the preview lies between them."""
        places = sorted(made)
        best = bisect(places, min(made, key=lambda place: made[place].distance)) - 1
        reach = 2 if self._base.distance <= MAX_ROUNDING else 1
        low = places[best - reach] if best >= reach else -math.inf
        high = places[best + reach] if best + reach < len(places) else math.inf
        return low, high

    def _place(self, settings: Settings) -> float:
        """Return the logit of the middle sigma; NaN where no schedule can be made."""
        try:
            request = self._trials.request(settings)
            tokens = request.spec.tokens(*request.size())
            choice = choose_scheduler(request.scheduler, request.dialect.schedule)
            sigmas = sigmas_of(choice, request.sample_steps, tokens, request.spec, request.shift)
        except HarnessError:
            return math.nan
        middle = float(sigmas[len(sigmas) // 2])
        return round(math.log(middle / (1 - middle)), 6) if 0 < middle < 1 else math.nan

    def _candidates(self) -> Iterator[tuple[Settings, bool]]:
        """Yield settings with a value of one axis, and whether it is a usual one."""
        context, base = self._trials.context, self._base.settings
        for name in SHIFTS:
            axis = AXES[name]
            if name in base:
                continue
            usual = [value for value in axis.candidates(context) if axis.problem(context, value) is None]
            more = {"dynamic_shifting": False} if name == "shift" else {}
            for value in usual if axis.grid is None else _grid_of(name, usual):
                yield {**base, name: value, **more}, value in usual


def unshifted(settings: Settings) -> Settings:
    """Return ``settings`` with dynamic shifting off in the place of what shifts the schedule.

    Of several that shift it about as far, it is the one that is switched and not typed.
    """
    rest = {name: value for name, value in settings.items() if name not in SHIFTS}
    return {**rest, "dynamic_shifting": False} if len(rest) < len(settings) else settings


def _grid_of(name: str, usual: Sequence[Value]) -> list[Value]:
    """Return the values of an axis's grid from somewhat below its usual ones to somewhat above."""
    grid = AXES[name].grid
    assert grid is not None
    known = [float(value) for value in usual]
    low, high = min(known) - BEYOND * grid.step, max(known) + BEYOND * grid.step
    steps = itertools.count(math.floor(low / grid.step))
    values = (grid.snap(number * grid.step) for number in steps)
    return list(dict.fromkeys(itertools.takewhile(lambda value: float(value) < high, values)))
