"""What may be identical where a trial is within the floor: other rounding, near numbers, near schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.lines import Lines
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.singles import CLOSE, POINTING
from harness.diagnosis.trials import Settings, Trial, rms
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Family

ROUNDING = ("t5_attention", "lora_mode", "dtype", "attention")
CHANCE = ROUNDING[1:]
"""Rounding of which no table says that previews have it."""
MAX_NEAR, MAX_INSTEAD, MAX_KERNELS = 20, 5, 4
"""What is rendered of near schedules, of those in the place of one that the anchor has, and of the nearest
numbers with T5's other kernel."""
MAX_BESIDE = 4
"""Steps on its grid that a number of the anchor goes to either side: within the floor any may be the one."""


class Identity:
    """Looks for an identical render around ``anchor``, which is within the floor."""

    def __init__(self, progress: Progress, lines: Lines, base: Trial, anchor: Trial) -> None:
        self._progress, self._lines, self._base, self._anchor = progress, lines, base, anchor

    def renders(self) -> Iterator[Render]:
        """Yield the renders, the likeliest first."""
        plain, lines = self._plain(), self._lines
        yield from lines.settings(self._rounded(self._anchor.settings))
        beside = self._beside(plain.settings)
        yield from lines.settings(beside)
        likely = self._nearest(beside)[:MAX_KERNELS]
        yield from lines.settings([self._on_other_kernel(each) for each in likely])
        for name in ROUNDING:
            if name in self._anchor.settings and name not in self._base.settings:
                yield from lines.settings(self._rounded(_without(self._anchor.settings, name)))
        yield from self.instead()
        near = self._near(plain)
        yield from lines.settings(near)
        yield from lines.each(plain, self._gradual(plain))
        yield from lines.settings([self._on_other_kernel(each) for each in self._nearest(near)])

    def instead(self) -> Iterator[Render]:
        """Yield schedules in the place of one of the anchor's that make about the change that it makes."""
        for name in self._anchor.settings:
            is_schedule = name == "steps" or AXES[name].family is Family.SCHEDULE
            if is_schedule and name not in self._base.settings:
                yield from self._lines.settings(self._alike(_without(self._anchor.settings, name)))

    def _plain(self) -> Trial:
        """Return the anchor without other rounding: where nothing is identical, it came nearest by chance."""
        anchor, kept = self._anchor, self._base.settings
        settings = {
            name: value for name, value in anchor.settings.items() if name in kept or name not in CHANCE
        }
        return self._progress.trials.attempt(settings) or anchor

    def _beside(self, settings: Settings) -> list[Settings]:
        """Return ``settings`` with each number of theirs moved on its grid, the smallest moves first."""
        grids = {name: AXES[name].grid for name in settings if name not in self._base.settings}
        return [
            {**settings, name: grid.snap(float(settings[name]) + sign * count * grid.step)}
            for count in range(1, MAX_BESIDE + 1)
            for name, grid in grids.items()
            if grid is not None
            for sign in (1, -1)
        ]

    def of_lora(self) -> Iterator[Render]:
        """Yield other ways of applying the LoRA, where a control cleared all else."""
        found = factors(self._progress.trials, self._anchor.settings, lambda axis: axis.name == "lora_mode")
        yield from self._lines.values(each for each in found if each.is_numeric)

    def _rounded(self, settings: Settings) -> list[Settings]:
        """Return other rounding on top of ``settings``, T5's kernel first."""
        found = factors(self._progress.trials, settings, lambda axis: axis.name in ROUNDING)
        found.sort(key=lambda each: ROUNDING.index(each.axis.name))
        return [each.settings(each.values[0]) for each in found if each.values[0] != "none"]

    def _near(self, anchor: Trial) -> list[Settings]:
        """Return schedules on top of ``anchor`` that are estimated close to the preview, nearest first."""
        estimator = Estimator(self._progress.trials, anchor)
        limit = CLOSE * max(anchor.distance, 1.0)
        left = [
            (distance, factor.settings(value))
            for factor in map(_finer, self._schedules(anchor.settings))
            for value, distance in estimator.estimate(factor).left.items()
            if distance < limit
        ]
        return _nearest(left)[:MAX_NEAR]

    def _gradual(self, anchor: Trial) -> list[Estimate]:
        """Return the numbers that point from ``anchor`` to the preview."""
        found = [
            each
            for each in factors(self._progress.trials, anchor.settings)
            if each.own is not None and not each.is_schedule
        ]
        return [each for each in self._lines.ranked(anchor, found) if each.agreement >= POINTING]

    def _alike(self, rest: Settings) -> list[Settings]:
        """Return schedules on top of ``rest`` that make about the change that the anchor makes there."""
        trials = self._progress.trials
        base = trials.attempt(rest)
        if base is None or not trials.can_follow:
            return []
        wanted = trials.follow(self._anchor.settings, base)
        left: list[tuple[float, Settings]] = []
        for factor in self._schedules(rest):
            for value in Estimator(trials, base).estimate(factor).left:
                image = trials.follow(factor.settings(value), base)
                if image.shape == wanted.shape:
                    left.append((rms(image, wanted), factor.settings(value)))
        return _nearest(left)[:MAX_INSTEAD]

    def _schedules(self, settings: Settings) -> list[Factor]:
        if not self._progress.trials.can_follow:
            return []
        found = factors(self._progress.trials, settings)
        return [each for each in found if each.is_schedule and not each.is_noise]

    def _on_other_kernel(self, settings: Settings) -> Settings:
        axis = AXES["t5_attention"]
        trials = self._progress.trials
        own = axis.read(trials.context, trials.request(settings))
        other = next(value for value in axis.candidates(trials.context) if value != own)
        return {**settings, axis.name: other}

    def _nearest(self, found: list[Settings]) -> list[Settings]:
        """Return rendered settings, the nearest to the preview first."""
        return sorted(found, key=self._distance)

    def _distance(self, settings: Settings) -> float:
        trial = self._progress.trials.attempt(settings)
        return math.inf if trial is None else trial.distance


def _without(settings: Settings, name: str) -> Settings:
    return {key: value for key, value in settings.items() if key != name}


def _finer(factor: Factor) -> Factor:
    """Return a factor with the numbers beside its own among the values."""
    grid, own = factor.axis.grid, factor.own
    if grid is None or own is None:
        return factor
    beside = [grid.snap(own + count * grid.step) for count in range(-MAX_BESIDE, MAX_BESIDE + 1)]
    return replace(factor, values=tuple({*factor.values, *beside} - {own}))


def _nearest(left: list[tuple[float, Settings]]) -> list[Settings]:
    return [settings for _, settings in sorted(left, key=lambda each: each[0])]
