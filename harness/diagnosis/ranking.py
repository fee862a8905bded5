"""What can be changed on top of a trial, and estimates that say where to look first.

A setting that acts in every step is seen early: the model is asked once, a third of the way from noise to
image, and what the setting changes there is added to the base's own finished render. A schedule is followed
to the end with what the transformer said along the base's render, without asking it.
docs/diagnosis.md says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.diagnosis.trials import Pixels, Settings, Trial, TrialRenderer, rms
from harness.errors import HarnessError
from harness.pipeline.schedulers import find_scheduler
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Axis, Family
from harness.sweeps.axis_values import Value
from harness.sweeps.equal_renders import Effective

Line = list[Settings]
"""Settings to render one after the other while they come nearer: one, or a number's values in one way."""
FIRST_PATIENCE, PATIENCE = 8, 20
"""Lines in a row that may fail to improve before other noise is tried, and before a group is given up."""
SMALLER, LARGER = 0.5, 2.0
"""A change may in the end be this much of what it looks like early."""
IDLE = 0.05
"""Share of the distance below which an estimated change explains nothing."""


@dataclass(frozen=True)
class Estimate:
    """What a set of settings is expected to render.

    Attributes:
        distance: root mean square difference from the preview, 0 to 255.
        idle: next to nothing changes, measured by what is to be explained.
    """

    settings: Settings
    distance: float
    idle: bool = False


class Ranking:
    """The changes on top of ``base``, estimated and in order.

    Args:
        budget: renders of the case's own after which nothing more is estimated.
    """

    def __init__(self, trials: TrialRenderer, base: Trial, budget: float) -> None:
        self._trials, self._base, self._budget = trials, base, budget
        self._seen: dict[Callable[[Settings], Pixels], Pixels] = {}

    def groups(self, lora_first: bool = False) -> Iterator[tuple[list[Line], int]]:
        """Yield groups of lines, the likeliest line first, and how many in a row may fail to improve.

        What draws other noise is tried whole: first where the base shows another picture than the preview,
        else when the likeliest lines failed. Lines that come twice are rendered once.

        Args:
            lora_first: yield what concerns the LoRA as a group before all others.
        """
        seen = {self._trials.effective(self._base.settings), self._trials.effective({})}
        lora, noise, steady, schedules = (
            self._new(changes(self._trials, belongs), seen)
            for belongs in (_is_lora, _is_noise, _is_steady, _is_schedule)
        )
        noise += [settings for settings in schedules if self._draws(settings)]
        schedules = [settings for settings in schedules if not self._draws(settings)]
        if lora_first:
            yield self._lines(self._steady(lora)), PATIENCE
            lora = []
        if self._is_other_picture:
            yield [[settings] for settings in noise], len(noise)
        rest = self._lines([*self._steady(lora + steady), *self._schedules(schedules)])
        if not self._is_other_picture:
            yield rest, FIRST_PATIENCE
            yield [[settings] for settings in noise], len(noise)
        yield rest, PATIENCE

    def noise_pairs(self) -> list[Line]:
        """Return pairs of noise settings, the likeliest by their first steps first."""
        singles = changes(self._trials, _is_noise)
        pairs: list[Settings] = [{**a, **b} for a in singles for b in singles if min(a) < min(b)]
        new = self._new(pairs, {self._trials.effective(self._base.settings)})
        return self._lines(self._by_change(new, self._stopped))

    def schedule_pairs(self) -> list[Estimate]:
        """Return numbers of steps on other schedules, estimated, best first."""
        pairs: list[Settings] = [
            {**a, **b}
            for a in changes(self._trials, lambda axis: axis.family is Family.SCHEDULE)
            for b in changes(self._trials, lambda axis: axis.name == "steps")
        ]
        new = self._new(pairs, {self._trials.effective(self._base.settings)})
        return sorted(self._schedules(new), key=lambda each: each.distance)

    def numerics(self) -> list[Settings]:
        """Return the numeric settings that render something new, as the axes have them."""
        return self._new(
            changes(self._trials, lambda axis: axis.family is Family.NUMERICS),
            {self._trials.effective(self._base.settings), self._trials.effective({})},
        )

    def _new(self, options: list[Settings], seen: set[Effective]) -> list[Settings]:
        """Return the base with each change that renders something new."""
        new: list[Settings] = []
        for change in options:
            settings = {**self._base.settings, **change}
            try:
                key = self._trials.effective(settings)
            except HarnessError:
                continue  # the values exclude each other, or make no schedule
            if key not in seen:
                seen.add(key)
                new.append(settings)
        return new

    def _draws(self, settings: Settings) -> bool:
        """Whether the scheduler of ``settings`` draws noise on the way, and the base's does not."""
        ours, bases = (
            find_scheduler(self._trials.request(each).scheduler).stochastic
            for each in (settings, self._base.settings)
        )
        return ours and not bases

    def _lines(self, estimates: list[Estimate]) -> list[Line]:
        """Return the estimates' settings as lines, the likeliest first.

        An estimate tells which number matters, and in which direction, better than it tells how much. So the
        values below the base's own are one line, away from it, and those above another. Each checkpoint is a
        line: one in between may be farther. What changes next to nothing comes last.
        """
        lines: dict[str, Line] = {}
        for estimate in sorted(estimates, key=lambda each: (each.idle, each.distance)):
            settings = estimate.settings
            name = self._number(settings)
            key = repr(settings) if name is None else f"{name} {self._from_own(name, settings) > 0}"
            lines.setdefault(key, []).append(settings)
            if name is not None:
                lines[key].sort(key=lambda each: abs(self._from_own(name, each)))
        return list(lines.values())

    def _number(self, settings: Settings) -> str | None:
        """Return the axis of a change of one number with a gradual effect; None for any other change."""
        base = self._base.settings
        changed = [name for name, value in settings.items() if base.get(name) != value]
        name, value = changed[0], settings[changed[0]]
        leaps = AXES[name].family in {Family.NOISE, Family.NUMERICS} or name == "checkpoint"
        return None if leaps or len(changed) > 1 or isinstance(value, (str, bool)) else name

    def _from_own(self, name: str, settings: Settings) -> float:
        """Return how far above the base's own value the one in ``settings`` is."""
        return float(settings[name]) - float(AXES[name].read(self._trials.context, self._base.request))

    def _steady(self, options: list[Settings]) -> list[Estimate]:
        """Estimate by what the model says at the base's point; those that share weights follow each other."""
        by_weights = sorted(options, key=lambda settings: self._trials.request(settings).weights_key)
        return self._by_change(by_weights, self._asked_once if self._trials.can_follow else self._stopped)

    def _schedules(self, options: list[Settings]) -> list[Estimate]:
        if not self._trials.can_follow:
            return [Estimate(settings, self._base.distance) for settings in options]
        images = ((settings, self._trials.follow(settings, self._base)) for settings in options)
        return [self._estimate(settings, image) for settings, image in images]

    def _by_change(self, options: list[Settings], look: Callable[[Settings], Pixels]) -> list[Estimate]:
        """Add to the base's finished image what the settings change where ``look`` stops."""
        made: list[Estimate] = []
        for settings in options:
            if self._trials.spent >= self._budget:
                break
            image, base = look(settings), self._base
            if image.shape == base.image.shape and base.distance < math.inf:
                image = self._with(image.astype(np.float64) - self._once(look))
            made.append(self._estimate(settings, image))
        return made

    def _with(self, change: NDArray[np.float64]) -> Pixels:
        """Return the base's image with a change, as large as brings it nearest to the preview.

        Early, a change shows its direction better than its size.
        """
        missing = self._trials.preview.astype(np.float64) - self._trials.matched(self._base.image)
        size = np.sum(change * missing) / max(np.sum(change**2), 1.0)
        image = self._base.image + np.clip(size, SMALLER, LARGER) * change
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _estimate(self, settings: Settings, image: Pixels) -> Estimate:
        base = self._base
        idle = image.shape == base.image.shape and rms(image, base.image) < IDLE * base.distance < math.inf
        return Estimate(settings, self._trials.distance(image), idle)

    def _once(self, look: Callable[[Settings], Pixels]) -> Pixels:
        if look not in self._seen:
            self._seen[look] = look(self._base.settings)
        return self._seen[look]

    def _stopped(self, settings: Settings) -> Pixels:
        return self._trials.trial(settings, stop_after=self._early(settings)).image

    def _asked_once(self, settings: Settings) -> Pixels:
        """Ask early where the composition is another, and else a third of the way to the image."""
        steps = self._trials.request(settings).sample_steps
        call = self._early(settings) if self._is_other_picture else 1 + steps // 3
        return self._trials.follow(settings, self._base, stop_after=call)

    def _early(self, settings: Settings) -> int:
        """Return the call that has decided the composition: the second, or an eighth of all."""
        return max(2, self._trials.request(settings).sample_steps // 8)

    @property
    def _is_other_picture(self) -> bool:
        return self._trials.composition(self._base) == "different"


def changes(trials: TrialRenderer, belongs: Callable[[Axis], bool]) -> list[Settings]:
    """Return every value that the case can take of the axes that ``belongs`` accepts, each as a change."""
    context = trials.context
    return [
        _change(axis, value)
        for axis in AXES.values()
        if belongs(axis)
        for value in axis.candidates(context)
        if axis.problem(context, value) is None
    ]


def _change(axis: Axis, value: Value) -> Settings:
    """Return what to set for a value to have an effect: a static shift needs dynamic shifting off."""
    return {axis.name: value} | ({"dynamic_shifting": False} if axis.name == "shift" else {})


def _is_lora(axis: Axis) -> bool:
    return axis.name in {"checkpoint", "network_multiplier", "lora_mode"}


def _is_noise(axis: Axis) -> bool:
    return axis.family is Family.NOISE


def _is_schedule(axis: Axis) -> bool:
    return axis.family is Family.SCHEDULE or axis.name == "steps"


def _is_steady(axis: Axis) -> bool:
    return not (_is_lora(axis) or _is_noise(axis) or _is_schedule(axis))
