"""What can be changed on top of a trial, in groups, and estimates that say where to look first.

A setting that acts in every step is seen early: its render is stopped after two steps, and what it changes
there is added to the base's own finished render. A schedule shows only at the end: it is followed to the end
with what the transformer said along the base's render, which is asked anew for the longest steps: at first
for a part of the way, for more of it where that looks promising.
docs/diagnosis.md says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.bench import Bench, Pixels, Settings, Trial, rms
from harness.errors import HarnessError
from harness.variants.axes import AXES
from harness.variants.axis import Axis, Family
from harness.variants.effective import Effective
from harness.variants.values import Value

SHARES = (0.5, 0.65, 0.8, 0.9, 1.0)
"""How much of the way from noise to image the estimates of a schedule are answered exactly, one by one."""
STEPS_FROM, SCHEDULES_FROM = SHARES[:2]
"""Where estimates begin: other numbers of steps cost more, and answer part of each other's way."""
DOUBT = 0.5
"""Error that an estimate may have, as a share of the change that it shows and of what was not asked."""
EARLY_UNKNOWN = 0.5
"""What counts as not asked where a render was stopped early."""


@dataclass(frozen=True)
class Estimate:
    """A set of settings, and what their render is expected to be.

    Attributes:
        distance: expected distance from the preview, 0 to 255.
        hope: the least distance that it may turn out to have.
        share: of the way that is answered exactly, 0 to 1; None where no more can be asked.
    """

    settings: Settings
    distance: float
    hope: float
    share: float | None = None


class Ranking:
    """The changes on top of ``base``, estimated group by group.

    Args:
        budget: renders of the case's own after which nothing more is estimated.
    """

    def __init__(self, bench: Bench, base: Trial, budget: float) -> None:
        self._bench, self._base, self._budget = bench, base, budget
        self._seen: dict[Callable[[Settings], Pixels], Pixels] = {}

    def batches(self, lora_first: bool = False) -> Iterator[Iterator[list[Estimate]]]:
        """Yield batches of groups of estimates, best first.

        Noise comes first where the base shows another picture than the preview, and else on its own, last.

        Args:
            lora_first: yield what concerns the LoRA as a batch before all others.
        """
        seen = {self._bench.effective(self._base.settings), self._bench.effective({})}
        lora, noise, steady, schedules, steps = (
            self._new(changes(self._bench, belongs), seen)
            for belongs in (_is_lora, _is_noise, _is_steady, _is_schedule, _is_steps)
        )
        if lora_first:
            yield (self._steady(options) for options in [lora])
        else:
            steady = lora + steady
        rest = [(self._steady, steady), (self._schedules, schedules), (self._steps, steps)]
        alone = [(self._noise, noise)]
        same = self._bench.composition(self._base) == "same"
        for batch in [rest, alone] if same else [alone + rest]:
            yield (estimate(options) for estimate, options in batch)

    def decides_composition(self, group: list[Estimate]) -> bool:
        """Whether a group is noise and the base shows another picture than the preview."""
        changed = {name for each in group for name in set(each.settings) - set(self._base.settings)}
        noise = bool(changed) and all(_is_noise(AXES[name]) for name in changed)
        return noise and self._bench.composition(self._base) == "different"

    def refined(self, estimate: Estimate) -> Estimate | None:
        """Return an estimate that asks for more of the way; None where nothing is left to ask."""
        more = [share for share in SHARES if estimate.share is not None and share > estimate.share]
        return self._by_following(estimate.settings, more[0]) if more else None

    def noise_pairs(self) -> list[Estimate]:
        """Return pairs of noise settings with their estimates, best first."""
        singles = changes(self._bench, _is_noise)
        pairs: list[Settings] = [{**a, **b} for a in singles for b in singles if min(a) < min(b)]
        return self._noise(self._new(pairs, {self._bench.effective(self._base.settings)}))

    def schedule_pairs(self) -> list[Estimate]:
        """Return numbers of steps on other schedules, estimated from what was said so far, best first."""
        schedules, steps = changes(self._bench, _is_schedule), changes(self._bench, _is_steps)
        pairs: list[Settings] = [{**a, **b} for a in schedules for b in steps]
        new = self._new(pairs, {self._bench.effective(self._base.settings)})
        return self._sorted(new, lambda settings: self._by_following(settings, 0.0))

    def numerics(self) -> list[Settings]:
        """Return the numeric settings that render something new, as the axes have them."""
        return self._new(
            changes(self._bench, lambda axis: axis.family is Family.NUMERICS),
            {self._bench.effective(self._base.settings), self._bench.effective({})},
        )

    def _new(self, options: list[Settings], seen: set[Effective]) -> list[Settings]:
        """Return the base with each change that renders something new."""
        new: list[Settings] = []
        for change in options:
            settings = {**self._base.settings, **change}
            try:
                key = self._bench.effective(settings)
            except HarnessError:
                continue  # the values exclude each other, or make no schedule
            if key not in seen:
                seen.add(key)
                new.append(settings)
        return new

    def _noise(self, options: list[Settings]) -> list[Estimate]:
        """Estimate by the first steps, which decide the composition."""
        return self._sorted(options, lambda settings: self._by_change(settings, self._stopped))

    def _steady(self, options: list[Settings]) -> list[Estimate]:
        """Estimate by what the second step says at the base's point.

        Those that share weights follow each other.
        """
        by_weights = sorted(options, key=lambda settings: self._bench.request(settings).weights_key)
        look = self._glimpsed if self._bench.can_follow else self._stopped
        return self._sorted(by_weights, lambda settings: self._by_change(settings, look))

    def _schedules(self, options: list[Settings]) -> list[Estimate]:
        return self._sorted(options, lambda settings: self._by_following(settings, SCHEDULES_FROM))

    def _steps(self, options: list[Settings]) -> list[Estimate]:
        """Estimate by following each number of steps, the largest first: their sigmas serve the others."""
        most = sorted(options, key=lambda settings: self._bench.request(settings).sample_steps, reverse=True)
        return self._sorted(most, lambda settings: self._by_following(settings, STEPS_FROM))

    def _sorted(self, options: list[Settings], estimate: Callable[[Settings], Estimate]) -> list[Estimate]:
        made = []
        for settings in options:
            if self._bench.spent >= self._budget:
                break
            made.append(estimate(settings))
        return sorted(made, key=lambda each: each.distance)

    def _by_following(self, settings: Settings, share: float) -> Estimate:
        if not self._bench.can_follow:
            return Estimate(settings, self._base.distance, self._base.distance)
        image = self._bench.follow(settings, self._base, share)
        return self._estimate(settings, image, 1 - share, share)

    def _by_change(self, settings: Settings, look: Callable[[Settings], Pixels]) -> Estimate:
        """Add to the base's finished image what the settings change where ``look`` stops."""
        image, before, base = look(settings), self._once(look), self._base
        if image.shape == base.image.shape and base.distance < math.inf:
            change = image.astype(np.int16) - before.astype(np.int16)
            image = np.clip(base.image + change, 0, 255).astype(np.uint8)
        return self._estimate(settings, image, EARLY_UNKNOWN)

    def _once(self, look: Callable[[Settings], Pixels]) -> Pixels:
        if look not in self._seen:
            self._seen[look] = look(self._base.settings)
        return self._seen[look]

    def _estimate(
        self, settings: Settings, image: Pixels, unknown: float, share: float | None = None
    ) -> Estimate:
        distance, base = self._bench.distance(image), self._base.image
        change = rms(image, base) if image.shape == base.shape else 0.0
        return Estimate(settings, distance, distance - DOUBT * unknown * change, share)

    def _stopped(self, settings: Settings) -> Pixels:
        return self._bench.trial(settings, stop_after=self._few(settings)).image

    def _glimpsed(self, settings: Settings) -> Pixels:
        return self._bench.follow(settings, self._base, 0.0, stop_after=self._few(settings))

    def _few(self, settings: Settings) -> int:
        """Return after how many steps a render is stopped: two, or an eighth of all."""
        return max(2, self._bench.request(settings).sample_steps // 8)


def numbers_of(bench: Bench, name: str) -> list[Value]:
    """Return the values of an axis that the case can take, in order; none where they are no numbers."""
    values = [value for value in AXES[name].candidates(bench.context) if not isinstance(value, (str, bool))]
    return sorted((value for value in values if AXES[name].problem(bench.context, value) is None), key=float)


def changes(bench: Bench, belongs: Callable[[Axis], bool]) -> list[Settings]:
    """Return every value that the case can take of the axes that ``belongs`` accepts, each as a change."""
    context = bench.context
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
    return axis.family is Family.SCHEDULE


def _is_steps(axis: Axis) -> bool:
    return axis.name == "steps"


def _is_steady(axis: Axis) -> bool:
    return not (_is_lora(axis) or _is_noise(axis) or _is_schedule(axis) or _is_steps(axis))
