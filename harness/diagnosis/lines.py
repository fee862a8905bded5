"""Render single factors on top of a base: other settings once, a number along its line of values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import Factor
from harness.diagnosis.narrowing import MAX_ROUNDING, changes_more, narrow, project
from harness.diagnosis.one_shift import SHIFTS, ShiftLine
from harness.diagnosis.search_progress import ALONE, Progress, Render
from harness.diagnosis.trials import Settings, Trial
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import Value

NEARER, TOWARD = 0.7, 0.8
"""A number is narrowed at once where its first value leaves less of the distance, or goes more straight to
the preview as the cosine says; two unrelated renders have a cosine of one half."""
AGAIN = 0.9
"""Share of its base's distance that another factor leaves at most for the base's numbers, which were narrowed
without it, to be narrowed again."""
MAX_ROUNDS = 3
FEW = 2
"""Values that come no nearer, after which a shift that was narrowed before is left."""


@dataclass
class Waiting:
    """A number that waits to be narrowed on ``base``.

    Attributes:
        left: share of the distance that it may leave, or that its nearest value leaves.
        renders: its narrowing, where that has begun.
        rounds: how many renders of it were made.
    """

    left: float
    base: Trial
    estimate: Estimate
    renders: Iterator[Trial] | None = None
    rounds: int = 0


@dataclass
class Lines:
    """Renders factors; numbers whose first value shows little wait until others were rendered."""

    progress: Progress
    _waiting: list[Waiting] = field(default_factory=list)
    _shifted: set[str] = field(default_factory=set)

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
        """Yield the narrowing of the numbers that wait, the most promising first.

        Where little is missing they take turns: each may come a little nearer, and one is right.
        """
        while self._waiting:
            line = min(self._waiting, key=lambda each: (each.rounds, each.left))
            if line.base.distance <= MAX_ROUNDING:
                yield lambda line=line: self._advance(line)  # type: ignore[misc]
            else:
                self._waiting.remove(line)
                yield lambda line=line: self._narrow(line.base, line.estimate, line.renders)  # type: ignore[misc]

    def turns(self, count: int) -> Iterator[Render]:
        """Yield ``count`` further values of each number that waits, the most promising first."""
        while open_ := [each for each in self._waiting if each.rounds < count]:
            line = min(open_, key=lambda each: (each.rounds, each.left))
            yield lambda line=line: self._advance(line)  # type: ignore[misc]

    def finish(self, names: Iterable[str]) -> Iterator[Render]:
        """Yield what is left to narrow the waiting numbers of the axes ``names``."""
        for line in [each for each in self._waiting if _is_of(each, names)]:
            while line in self._waiting:
                yield lambda line=line: self._advance(line)  # type: ignore[misc]

    def beside(self, trial: Trial) -> Iterator[Render]:
        """Yield the narrowing of every number of ``trial`` from its neighbours on the grid."""

        def render() -> None:
            self.narrow_again(trial)

        yield render

    def shifted(self, trial: Trial) -> Iterator[Render]:
        """Yield what narrows the shift of a trial's schedule, with values of every axis that shifts it."""
        rest = {name: value for name, value in trial.settings.items() if name not in SHIFTS}

        def render() -> None:
            base = self.progress.trials.attempt(rest)
            if base is not None and math.isfinite(base.distance):
                line = ShiftLine(self.progress.trials, base)
                self.progress.run(_made(line.narrow(self.progress.floor.covers, FEW)))

        if len(rest) < len(trial.settings):
            yield render

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
        if estimate.factor.axis.name in SHIFTS and base.settings.keys().isdisjoint(SHIFTS):
            self._shift(base, estimate)
            return
        if estimate.factor.own is None:
            made = self._attempt(estimate.factor)
            if made is not None and made is self.progress.followed and made.distance < AGAIN * base.distance:
                self.narrow_again(made)
            return
        trials = self.progress.trials
        trial = trials.attempt(estimate.factor.settings(_first(estimate)))
        if trial is None:
            return
        if self._is_at_once(base, trial):
            self._narrow(base, estimate)
        elif not changes_more(base, trial, estimate.factor):
            self._waiting.append(Waiting(_left(base, trial, estimate), base, estimate))

    def _is_at_once(self, base: Trial, trial: Trial) -> bool:
        """Whether a number is narrowed at once after its first value, ``trial``."""
        cosine = project(self.progress.trials, base, trial)[1]
        if base.settings and trial is self.progress.best:
            return True
        if base.distance <= MAX_ROUNDING:
            return trial.distance < ALONE * base.distance or abs(cosine) > TOWARD
        return trial.distance < NEARER * base.distance or cosine > TOWARD

    def _shift(self, base: Trial, estimate: Estimate) -> None:
        """Render the first value of an axis that shifts the schedule, and narrow all of these together."""
        trials, progress, factor = self.progress.trials, self.progress, estimate.factor
        first = factor.settings(factor.values[0] if factor.own is None else _first(estimate))
        if factor.axis.name == "shift" and "dynamic_shifting" not in base.settings:
            first = {**base.settings, "dynamic_shifting": False}  # the model's own shift
        line = ShiftLine(trials, base)
        trial = trials.attempt(first) if line.may_hold(first) else None
        if trial is None:
            return
        if self._is_at_once(base, trial):
            self._narrow(base, estimate, itertools.chain([trial], line.narrow(progress.floor.covers)))
        elif repr(base.settings) not in self._shifted and not line.moves_too_far(trial):
            self._shifted.add(repr(base.settings))
            renders = line.narrow(progress.floor.covers)
            self._waiting.append(Waiting(_left(base, trial, estimate), base, estimate, renders))

    def _advance(self, line: Waiting) -> None:
        """Make one more render of a number that waits, or leave it where it is narrowed."""
        progress, factor = self.progress, line.estimate.factor
        if line.renders is None:
            first = _first(line.estimate)
            start = self._start(line.base, factor)
            line.renders = narrow(progress.trials, start, factor, first, progress.floor.covers)
            next(line.renders, None)  # the first value was rendered before it began to wait
        trial = next(line.renders, None)
        line.rounds += 1
        if trial is None:
            self._waiting.remove(line)
        else:
            line.left = min(line.left, trial.distance / line.base.distance)

    def _narrow(self, base: Trial, estimate: Estimate, made: Iterator[Trial] | None = None) -> None:
        """Make the renders that narrow a number: those of ``made``, or from its first value on."""
        if made is None:
            covers, start = self.progress.floor.covers, self._start(base, estimate.factor)
            made = narrow(self.progress.trials, start, estimate.factor, _first(estimate), covers)
        best = min(made, key=lambda trial: trial.distance, default=base)
        if best.distance < NEARER * base.distance and base.settings:
            self.narrow_again(best)

    def _start(self, base: Trial, factor: Factor) -> Trial:
        """Return what a number is narrowed from: of a static shift the model's own one."""
        if factor.axis.name != "shift":
            return base
        return self.progress.trials.attempt({**factor.base, "dynamic_shifting": False}) or base


def _made(trials: Iterator[Trial]) -> Iterator[Render]:
    """Yield renders each of which makes the next of ``trials``, until there are no more."""
    ended = False

    def render() -> None:
        nonlocal ended
        ended = next(trials, None) is None

    while not ended:
        yield render


def _is_of(line: Waiting, names: Iterable[str]) -> bool:
    """Whether a number that waits is of the axes ``names``; those that shift the schedule are one."""
    name = line.estimate.factor.axis.name
    return name in names or (name in SHIFTS and not set(SHIFTS).isdisjoint(names))


def _left(base: Trial, trial: Trial, estimate: Estimate) -> float:
    """Return the share of the distance that a number may leave, after its first value ``trial``."""
    return trial.distance / base.distance * math.sqrt(1 - min(1.0, estimate.agreement) ** 2)


def unranked(found: Iterable[Factor]) -> list[Estimate]:
    """Return factors to be rendered in their own order: nothing was estimated of them."""
    return [Estimate(factor, 0.0, factor.values[0]) for factor in found]


def _first(estimate: Estimate) -> float:
    grid = estimate.factor.axis.grid
    assert grid is not None
    return grid.snap(float(estimate.first))
