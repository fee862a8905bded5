"""Render single factors on top of a base: other settings once, a number along its line of values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import Factor
from harness.diagnosis.narrowing import narrow, project
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.trials import Settings, Trial
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import Value

NEARER, TOWARD = 0.7, 0.65
"""A number is narrowed at once where its first value leaves less of the distance, or goes more straight to
the preview as the cosine says; two unrelated renders have a cosine of one half."""
AGAIN = 0.9
"""Share of its base's distance that another factor leaves at most for the base's numbers, which were narrowed
without it, to be narrowed again."""
MAX_ROUNDS = 3
MAX_SHORTLISTED = 3
"""Values of a number that are rendered whole of those that short renders rank first."""


@dataclass
class Lines:
    """Renders factors; numbers whose first value shows little wait until others were rendered."""

    progress: Progress
    _waiting: list[tuple[float, Trial, Estimate]] = field(default_factory=list)

    def ranked(self, base: Trial, found: Iterable[Factor]) -> list[Estimate]:
        """Return estimates on top of ``base``, the likeliest first."""
        trials = self.progress.trials
        by_weights = sorted(found, key=lambda each: trials.request(each.settings(each.values[0])).weights_key)
        estimator = Estimator(trials, base)
        return sorted((estimator.estimate(each) for each in by_weights), key=lambda each: -each.agreement)

    def each(self, base: Trial, ranked: Iterable[Estimate]) -> Iterator[Render]:
        """Yield the renders of ``ranked`` on top of ``base``, in this order."""
        for estimate in ranked:
            yield lambda estimate=estimate: self._line(base, estimate)  # type: ignore[misc]

    def values(self, found: Iterable[Factor]) -> Iterator[Render]:
        """Yield the render of the first value of each factor."""
        for factor in found:
            yield lambda factor=factor: self._attempt(factor)  # type: ignore[misc]

    def settings(self, found: Iterable[Settings]) -> Iterator[Render]:
        """Yield the render of each of the settings."""
        for settings in found:
            yield lambda settings=settings: self.progress.trials.attempt(settings)  # type: ignore[misc]

    def waiting(self) -> Iterator[Render]:
        """Yield the narrowing of the numbers that wait, the most promising first."""
        while self._waiting:
            self._waiting.sort(key=lambda each: each[0])
            _, base, estimate = self._waiting.pop(0)
            yield lambda base=base, estimate=estimate: self._narrow(base, estimate)  # type: ignore[misc]

    def scan(self, base: Trial, found: Iterable[Factor]) -> Iterator[Render]:
        """Yield the renders of all usual values of each factor on ``base``, numbers narrowed from the best.

        A factor is rendered as a whole: what follows from a number is decided by its exact value.
        """
        for factor in found:
            yield lambda factor=factor: self.progress.run(self._scanned(base, factor))  # type: ignore[misc]

    def scan_shortly(self, base: Trial, found: Iterable[Factor]) -> Iterator[Render]:
        """Yield each number's values that short renders rank first, and what narrows it."""
        for factor in found:
            yield lambda factor=factor: self.progress.run(self._ranked_shortly(base, factor))  # type: ignore[misc]

    def _ranked_shortly(self, base: Trial, factor: Factor) -> Iterator[Render]:
        ranked = self.progress.trials.by_short_renders([factor.settings(value) for value in factor.values])
        yield from self.settings(ranked[:MAX_SHORTLISTED])
        yield from self._narrowed(base, factor)

    def _scanned(self, base: Trial, factor: Factor) -> Iterator[Render]:
        for value in factor.values:
            yield lambda value=value: self._attempt(factor, value)  # type: ignore[misc]
        if factor.own is not None:
            yield from self._narrowed(base, factor)

    def _narrowed(self, base: Trial, factor: Factor) -> Iterator[Render]:
        """Yield what narrows a number from the best of its usual values, and the values beside that one."""
        keys = {repr(factor.settings(value)) for value in factor.values}
        usual = [trial for trial in self.progress.trials.made if repr(trial.settings) in keys]
        best = min([base, *usual], key=lambda trial: trial.distance)
        narrowed: list[Trial] = []
        yield lambda: narrowed.append(self.narrow_again(best))
        is_sharp = any(trial.distance < NEARER * base.distance for trial in narrowed)
        if is_sharp and factor.axis.name in best.settings:
            yield from self.between(factor, best)

    def between(self, factor: Factor, trial: Trial) -> Iterator[Render]:
        """Yield the values of a number between the usual ones beside that of ``trial``, the nearest first."""
        grid, own = factor.axis.grid, float(trial.settings[factor.axis.name])
        assert grid is not None
        usual = sorted(float(value) for value in factor.values)
        low = max((value for value in usual if value < own), default=own)
        high = min((value for value in usual if value > own), default=own)
        count = round((high - low) / grid.step)
        inner = [grid.snap(low + number * grid.step) for number in range(1, count)]
        for value in sorted(inner, key=lambda value: abs(value - own)):
            yield lambda value=value: self._attempt(factor, value)  # type: ignore[misc]

    def narrow_again(self, trial: Trial) -> Trial:
        """Narrow each number of a trial while the others stand, and return the nearest trial."""
        progress = self.progress
        for _ in range(MAX_ROUNDS):
            before = trial
            for name in trial.settings:
                grid = AXES[name].grid
                if grid is None or progress.is_settled:
                    continue
                own = float(trial.settings[name])
                rest = {key: value for key, value in trial.settings.items() if key != name}
                factor = Factor(AXES[name], rest, (own,), own)
                for beside in (own + grid.step, own - grid.step):
                    if trial is before:
                        first = grid.snap(beside)
                        made = narrow(progress.trials, trial, factor, first, progress.floor.covers)
                        trial = min([trial, *made], key=lambda each: each.distance)
            if trial is before:
                break
        return trial

    def _attempt(self, factor: Factor, value: Value | None = None) -> Trial | None:
        chosen = factor.values[0] if value is None else value
        return self.progress.trials.attempt(factor.settings(chosen))

    def _line(self, base: Trial, estimate: Estimate) -> None:
        if estimate.factor.own is None:
            made = self._attempt(estimate.factor)
            if made is not None and made is self.progress.followed and made.distance < AGAIN * base.distance:
                self.narrow_again(made)
            return
        trials = self.progress.trials
        trial = trials.attempt(estimate.factor.settings(_first(estimate)))
        if trial is None:
            return
        cosine = project(trials, base, trial)[1]
        nearest = bool(base.settings) and trial is self.progress.best
        if nearest or trial.distance < NEARER * base.distance or cosine > TOWARD:
            self._narrow(base, estimate)
        else:
            left = trial.distance / base.distance * math.sqrt(1 - min(1.0, estimate.agreement) ** 2)
            self._waiting.append((left, base, estimate))

    def _narrow(self, base: Trial, estimate: Estimate) -> None:
        covers = self.progress.floor.covers
        made = narrow(self.progress.trials, base, estimate.factor, _first(estimate), covers)
        best = min(made, key=lambda trial: trial.distance, default=base)
        if best.distance < NEARER * base.distance and base.settings:
            self.narrow_again(best)


def unranked(found: Iterable[Factor]) -> list[Estimate]:
    """Return factors to be rendered in their own order: nothing was estimated of them."""
    return [Estimate(factor, 0.0, factor.values[0]) for factor in found]


def _first(estimate: Estimate) -> float:
    grid = estimate.factor.axis.grid
    assert grid is not None
    return grid.snap(float(estimate.first))
