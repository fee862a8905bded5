"""What lies near a trial that leaves little: schedules that are estimated close to the preview, numbers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.flat_lines import on_flat_lines
from harness.diagnosis.floor import MAX_FLOOR, MIN_FLOOR
from harness.diagnosis.groups import CLOSE, POINTING
from harness.diagnosis.lines import Lines
from harness.diagnosis.narrowing import MAX_ROUNDING
from harness.diagnosis.one_shift import SHIFTS
from harness.diagnosis.other_noise import gains, is_first
from harness.diagnosis.prices import split
from harness.diagnosis.projected import on_line, projected
from harness.diagnosis.quantized import recorded
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, changed_axes, on_other_kernel, rms
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import Value

MAX_CLOSE, MAX_TOGETHER = 12, 6
"""What is rendered of schedules near a trial, and of two numbers of a schedule that move together."""
FIRST = 5
"""Schedules that are rendered, one of each axis, before numbers go where these point."""
FLAT, MAX_FLAT = 1.25, 4
"""How much farther than the anchor its neighbours on a line may be for another dtype or kernel to be tried
there, and how many of them."""
MAX_LEADERS = 6
"""Trials that are about as near as the nearest, and are rendered with T5's other kernel too."""
OWN_KERNEL = 2 / 3
"""Share of the schedules that have the kernel of T5 that the base has."""
MAX_BESIDE = 4
"""Steps on its grid that a number goes to either side."""
UNMOVED = 0.8
"""Share of what the anchor leaves that every schedule on top of it leaves where none changes anything."""
FARTHER, BEYOND, MAX_FAR = 0.5, 2.0, 3
"""Share of its distance that other noise's short render is farther than the anchor's own at most; how many
times as far as the anchor a whole one draws another picture, and how many of these end the noise."""
UNUSUAL = 1.25
"""How much farther an estimate counts for a value that nobody types as often as the usual ones."""
ROUNDING = ("t5_attention", "dtype")
"""Rounding that is as likely as another schedule where little is missing."""
SHIFT_NUMBERS = tuple(name for name in SHIFTS if AXES[name].grid is not None)

Found = list[tuple[float, Settings]]


class Near:
    """Looks around ``anchor``, which lies near the preview; ``base`` is what the search began from."""

    def __init__(self, progress: Progress, lines: Lines, base: Trial, anchor: Trial) -> None:
        self._progress, self._lines, self._base, self._anchor = progress, lines, base, anchor

    def renders(self) -> Iterator[Render]:
        """Yield the renders, the likeliest first."""
        trials = self._progress.trials
        if "quantize" in self._base.settings:  # as the job recorded, unless its config was edited
            yield from self._lines.settings([without(self._anchor.settings, "quantize")])
        found = factors(trials, self._anchor.settings, lambda axis: axis.name in (*ROUNDING, "quantize"))
        yield from self._lines.values(recorded(trials, found))
        yield from self._lines.shifted(self._anchor)
        stays, loads = split(each for each in found if each.axis.name in ROUNDING)
        yield from self._lines.values(stays)
        yield from self._lines.settings(beside_on_other_kernel(trials, self._anchor))
        yield from self._lines.each(self._base, self.solvers())
        close = self.schedules(MAX_CLOSE)
        yield from self._lines.settings(itertools.islice(close, FIRST))
        yield from self._lines.settings(self._noise())
        yield from projected(self._progress, self._lines, self._anchor)
        yield from self._lines.settings(close)
        yield from self._lines.settings(self.together()[:MAX_TOGETHER])
        yield from self._lines.each(self._anchor, self.numbers())
        yield from projected(self._progress, self._lines, self._anchor)
        if self._anchor.distance <= MAX_FLOOR:
            yield from self._lines.settings(on_flat_lines(trials, [self._anchor.settings], self._anchor))
        yield from self._lines.values(loads)
        yield from self._lines.settings(self._loaded_beside(loads))

    def _noise(self) -> Iterator[Settings]:
        """Yield other noise on top of the anchor, by its short renders, where no schedule changes anything.

        Such a picture hardly depends on how it is drawn, so that a wrong seed leaves as little.
        """
        trials, anchor = self._progress.trials, self._anchor
        found = factors(trials, anchor.settings)
        schedules = {each.axis.name for each in found if each.is_schedule}
        on_top = [each for each in trials.made if anchor.settings.items() < each.settings.items()]
        moved = [
            each.distance for each in on_top if changed_axes(each.settings, anchor.settings) <= schedules
        ]
        if anchor is not self._base and moved and min(moved) > UNMOVED * anchor.distance:
            noise = [each for each in found if each.is_noise and is_first(each)]
            yield from self._until_far(each for gain, each in gains(trials, anchor, noise) if gain > -FARTHER)

    def _until_far(self, noise: Iterable[Factor]) -> Iterator[Settings]:
        """Yield noise on top of the anchor until some in a row draw a picture that is farther."""
        far = 0
        for factor in noise:
            settings = factor.settings(factor.values[0])
            yield settings
            trial = self._progress.trials.attempt(settings)
            is_far = trial is None or trial.distance > BEYOND * self._anchor.distance
            far = far + 1 if is_far else 0
            if far == MAX_FAR:
                return

    def _loaded_beside(self, loads: list[Factor]) -> Iterator[Settings]:
        """Yield another dtype on top of the anchor's neighbours on a line: rounding hides the best one."""
        flat = flat_beside(self._progress.trials, self._anchor)
        for factor in loads:
            for trial in flat[:MAX_FLAT]:
                yield {**trial.settings, factor.axis.name: factor.values[0]}

    def schedules(self, count: int) -> Iterator[Settings]:
        """Yield up to ``count`` schedules that are estimated close, the axes in turn.

        Those with the kernel of T5 that the base has come first, then some with the other one, estimated when
        they are asked for.
        """
        own, *other = self._on_both_kernels()
        first = round(OWN_KERNEL * count) if other else count
        yield from self._schedules_on(own)[:first]
        for trial in other:
            yield from self._schedules_on(trial)[: count - first]

    def _schedules_on(self, trial: Trial) -> list[Settings]:
        estimator, found = Estimator(self._progress.trials, trial), defaultdict[str, Found](list)
        limit = CLOSE * max(trial.distance, 1.0)
        for factor in schedules_of(self._progress.trials, trial.settings):
            for value, distance in estimator.estimate(finer(factor)).left.items():
                if distance < limit and not self._progress.trials.is_made(factor.settings(value)):
                    unusual = UNUSUAL if value not in factor.values else 1.0
                    found[factor.axis.name].append((unusual * distance, factor.settings(value)))
        return _in_turn(list(found.values()))

    def solvers(self) -> list[Estimate]:
        """Return the other schedulers where the anchor has one: several solvers come near, one is right."""
        base = self._base
        if "scheduler" not in self._anchor.settings or "scheduler" in base.settings:
            return []
        found = factors(self._progress.trials, base.settings, lambda axis: axis.name == "scheduler")
        return self._lines.ranked(base, [each for each in found if not each.is_noise])

    def together(self) -> list[Settings]:
        """Return moves of a number of the anchor's schedule together with another, the nearest of each first.

        More steps and a smaller shift may give nearly the same schedule: each alone comes no nearer.
        """
        estimator = Estimator(self._progress.trials, self._anchor)
        limit, found = CLOSE * max(self._anchor.distance, 1.0), list[Found]()
        for name in self._anchor.settings:
            others = SHIFT_NUMBERS if name == "steps" else ("steps",) if name in SHIFT_NUMBERS else ()
            for moved in self._moved(name) if name not in self._base.settings and others else []:
                for factor in schedules_of(self._progress.trials, moved):
                    if factor.axis.name in others:
                        left = estimator.estimate(finer(factor)).left
                        near = [
                            (each, factor.settings(value)) for value, each in left.items() if each < limit
                        ]
                        found.append(near)
        return _in_turn(found)

    def numbers(self) -> list[Estimate]:
        """Return the numbers that point from the anchor to the preview, and are no schedule."""
        every = factors(self._progress.trials, self._anchor.settings)
        found = [each for each in every if each.own is not None and not each.is_schedule]
        return [each for each in self._lines.ranked(self._anchor, found) if each.agreement >= POINTING]

    def _moved(self, name: str) -> list[Settings]:
        grid, settings = AXES[name].grid, self._anchor.settings
        assert grid is not None
        moves = (-2, -1, 1, 2)
        return [{**settings, name: grid.snap(float(settings[name]) + count * grid.step)} for count in moves]

    def _on_both_kernels(self) -> list[Trial]:
        """Return the anchor with either of T5's kernels, the base's first; alone where both are the same."""
        anchor = self._anchor
        other = self._progress.trials.attempt(on_other_kernel(self._progress.trials, anchor.settings))
        if other is None or rms(other.image, anchor.image) < MIN_FLOOR:
            return [anchor]
        is_other = "t5_attention" in anchor.settings.keys() - self._base.settings.keys()
        return [other, anchor] if is_other else [anchor, other]


def schedules_of(trials: TrialRenderer, settings: Settings) -> list[Factor]:
    """Return the schedules on top of ``settings`` of which a recorded trajectory gives an estimate."""
    if not trials.can_follow:
        return []
    return [each for each in factors(trials, settings) if each.is_schedule and not each.is_noise]


def flat_beside(trials: TrialRenderer, anchor: Trial) -> list[Trial]:
    """Return the neighbours of ``anchor`` on a line of values that are about as near, the nearest first."""
    line = [each for name in anchor.settings for each in on_line(trials, anchor, name)]
    flat = [each for each in line if each.distance < FLAT * anchor.distance]
    return sorted(flat, key=lambda each: each.distance)


def beside_on_other_kernel(trials: TrialRenderer, anchor: Trial) -> Iterator[Settings]:
    """Yield T5's other kernel on top of the neighbours that are about as near as ``anchor``.

    In bf16 the two kernels round far enough apart to hide which value of a number is right.
    """
    if anchor.rendered.dtype == "fp32" or "t5_attention" in anchor.settings:
        return
    for trial in flat_beside(trials, anchor)[:MAX_FLAT]:
        yield on_other_kernel(trials, trial.settings)


def leaders_on_other_kernel(trials: TrialRenderer, leader: Trial) -> list[Settings]:
    """Return T5's other kernel on top of trials about as near as ``leader``, with as many settings.

    Where that kernel moves the picture far, they tell which of several settings is right only with the
    kernel that the preview had.
    """
    if leader.rendered.dtype == "fp32" or leader.distance > MAX_ROUNDING or "t5_attention" in leader.settings:
        return []
    limit, count = FLAT * leader.distance, len(leader.settings)
    near = [each for each in trials.made if each.distance < limit and len(each.settings) == count]
    plain = [each for each in near if not {"t5_attention", "attention"} & each.settings.keys()]
    nearest_first = sorted(plain, key=lambda each: each.distance)[:MAX_LEADERS]
    return [on_other_kernel(trials, each.settings) for each in nearest_first]


def without(settings: Settings, name: str) -> Settings:
    """Return ``settings`` without one of them."""
    return {key: value for key, value in settings.items() if key != name}


def without_each(settings: Settings, base: Settings) -> list[Settings]:
    """Return ``base``, and ``settings`` without each number that they change on top of it."""
    numbers = [name for name in settings.keys() - base.keys() if AXES[name].grid is not None]
    found = [base, *(without(settings, name) for name in sorted(numbers))] if numbers else [base, settings]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def nearest(found: Found) -> list[Settings]:
    """Return the settings, the nearest first."""
    return [settings for _, settings in sorted(found, key=lambda each: each[0])]


def _in_turn(found: list[Found]) -> list[Settings]:
    """Return the nearest of each list, then the second of each, and so on."""
    ranked = [sorted(each, key=lambda one: one[0]) for each in found]
    rounds = itertools.zip_longest(*ranked)
    return [settings for each in rounds for settings in nearest([one for one in each if one is not None])]


def finer(factor: Factor) -> Factor:
    """Return a factor with the numbers beside its own among the values."""
    return replace(factor, values=tuple({*factor.values, *_beside(factor, MAX_BESIDE)}))


def _beside(factor: Factor, count: int) -> tuple[Value, ...]:
    """Return the numbers up to ``count`` steps on its grid beside a factor's own."""
    grid, own = factor.axis.grid, factor.own
    if grid is None or own is None:
        return ()
    values = {grid.snap(own + number * grid.step) for number in range(-count, count + 1)}
    return tuple(values - {own})
