"""What may be identical where a trial is within the floor: kernels and rounding, then near schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.lines import Lines
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.singles import CLOSE, POINTING
from harness.diagnosis.trials import Settings, Trial, rms
from harness.sweeps.axes import AXES

ROUNDING = ("t5_attention", "lora_mode", "dtype", "attention")
MAX_NEAR = 10
"""Near schedules that are rendered."""


class Identity:
    """Looks for an identical render around ``anchor``, which is within the floor."""

    def __init__(self, progress: Progress, lines: Lines, base: Trial, anchor: Trial) -> None:
        self._progress, self._lines, self._base, self._anchor = progress, lines, base, anchor

    def renders(self) -> Iterator[Render]:
        """Yield the renders, the likeliest first."""
        anchor = self._anchor
        yield from self._rounded(anchor.settings)
        near: list[Settings] = []
        for name in anchor.settings:
            if name in self._base.settings:
                continue
            rest = {key: value for key, value in anchor.settings.items() if key != name}
            if name in ROUNDING:
                yield from self._rounded(rest)
            else:
                near += self._instead(rest, anchor)
        near += self._near(anchor)
        yield from self._settings(near)
        yield from self._lines.each(anchor, self._gradual(anchor))
        near.sort(key=self._distance)
        yield from self._settings([self._on_other_kernel(each) for each in near])

    def of_lora(self) -> Iterator[Render]:
        """Yield other ways of applying the LoRA, where a control cleared all else."""
        found = factors(self._progress.trials, self._anchor.settings, lambda axis: axis.name == "lora_mode")
        yield from self._lines.values(each for each in found if each.is_numeric)

    def _rounded(self, settings: Settings) -> Iterator[Render]:
        """Yield other rounding on top of ``settings``, T5's kernel first."""
        found = factors(self._progress.trials, settings, lambda axis: axis.name in ROUNDING)
        found.sort(key=lambda each: ROUNDING.index(each.axis.name))
        made = [each.settings(each.values[0]) for each in found if each.values[0] != "none"]
        yield from self._settings(made)

    def _near(self, anchor: Trial) -> list[Settings]:
        """Return schedules on top of ``anchor`` that are estimated close to the preview, nearest first."""
        estimator = Estimator(self._progress.trials, anchor)
        limit = CLOSE * max(anchor.distance, 1.0)
        left = [
            (distance, factor.settings(value))
            for factor in self._schedules(anchor.settings)
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

    def _instead(self, rest: Settings, anchor: Trial) -> list[Settings]:
        """Return schedules on top of ``rest`` that make about the change that ``anchor`` makes there."""
        trials = self._progress.trials
        base = trials.attempt(rest)
        if base is None or not trials.can_follow:
            return []
        wanted = trials.follow(anchor.settings, base)
        left: list[tuple[float, Settings]] = []
        for factor in self._schedules(rest):
            for value in Estimator(trials, base).estimate(factor).left:
                image = trials.follow(factor.settings(value), base)
                if image.shape == wanted.shape:
                    left.append((rms(image, wanted), factor.settings(value)))
        return _nearest(left)[: MAX_NEAR // 2]

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

    def _settings(self, found: list[Settings]) -> Iterator[Render]:
        for settings in found:
            yield lambda settings=settings: self._attempt(settings)  # type: ignore[misc]

    def _distance(self, settings: Settings) -> float:
        trial = self._progress.trials.attempt(settings)
        return math.inf if trial is None else trial.distance

    def _attempt(self, settings: Settings) -> None:
        self._progress.trials.attempt(settings)


def _nearest(left: list[tuple[float, Settings]]) -> list[Settings]:
    return [settings for _, settings in sorted(left, key=lambda each: each[0])]
