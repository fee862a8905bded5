"""The floor: the distance that no setting can remove, since equally valid kernels make it."""

from __future__ import annotations

import math

import numpy as np

from harness.diagnosis.trials import Trial, TrialRenderer, on_other_kernel, rms
from harness.sweeps.axes import ATTENTION

FACTOR, FACTOR_ELSEWHERE = 1.5, 2.0
"""How many times what another kernel changes is within the floor; the same for a preview that another machine
rendered, whose products round otherwise too."""
MIN_FLOOR = 0.5
"""Half a level of 255: what rounding to 8 bits hides."""
ROUNDED = 0.3
"""Share of an image's values that another rounding moves by one level: 0.55 of 255 before the codec."""
MAX_FLOOR = 6.0
"""A trial farther than this (32.6 dB) is never within the floor, so the floor is not measured there."""
BY_CHANCE = 1.25
"""How much farther another draw of that rounding may be, after a JPEG."""
BEYOND = 2.0
"""How much farther than every floor that was measured in its dtype a trial is not within its own either."""
SILENT = MIN_FLOOR / FACTOR
"""Distance between two kernels in fp32 up to which they are not compared again at other settings."""


class Floor:
    """The floor at each trial's own settings, measured where it may matter.

    Args:
        least: what it is at least, 0 to 255.
        factor: how many times what another kernel changes it is.
    """

    def __init__(self, trials: TrialRenderer, least: float = MIN_FLOOR, factor: float = FACTOR) -> None:
        self._trials = trials
        self._least, self.factor = least, factor
        self._measured: dict[str, float] = {}
        self._in_fp32 = math.inf

    def covers(self, trial: Trial) -> bool:
        """Whether a trial is identical to the preview, or within the floor at its settings."""
        if trial.distance <= self._least or trial.distance > MAX_FLOOR:
            return trial.distance <= self._least
        known = self._measured.get(trial.rendered.dtype)
        if known is not None and trial.distance > BEYOND * known:
            return False
        return trial.distance <= self.at(trial)

    def at(self, trial: Trial) -> float:
        """Return the floor at a trial's settings, 0 to 255.

        It is ``factor`` times what another attention kernel changes there, and at least what the preview's
        codec makes of rounding.
        """
        found = self._at(trial)
        dtype = trial.rendered.dtype
        self._measured[dtype] = max(found, self._measured.get(dtype, 0.0))
        return found

    def of_t5(self, trial: Trial) -> float:
        """Return ``factor`` times what T5's other kernel changes at a trial's settings, 0 to 255.

        Either kernel is valid and a job records neither. Where a picture is about to become another, this is
        far more than another attention kernel changes.
        """
        if trial.rendered.dtype == "fp32" or trial.distance > MAX_FLOOR:
            return 0.0
        other = self._trials.attempt(on_other_kernel(self._trials, trial.settings))
        return 0.0 if other is None else self.factor * self._between(trial, other)

    def _at(self, trial: Trial) -> float:
        is_silent = trial.rendered.dtype == "fp32" and self._in_fp32 <= SILENT
        between = self._in_fp32 if is_silent else self._of_kernels(trial)
        if trial.rendered.dtype == "fp32":
            self._in_fp32 = between
        return max(self._least, BY_CHANCE * self._rounded(trial), self.factor * between)

    def _of_kernels(self, trial: Trial) -> float:
        """Return the distance between renders of two attention kernels, 0 to 255; 0 where none can tell."""
        kernels = ATTENTION[self._trials.context.device]
        kernel = kernels[trial.settings.get("attention", kernels[0]) == kernels[0]]
        other = self._trials.attempt({**trial.settings, "attention": kernel})
        return 0.0 if other is None else self._between(trial, other)

    def _between(self, one: Trial, other: Trial) -> float:
        if one.image.shape != other.image.shape or math.isinf(one.distance):
            return 0.0
        return rms(self._trials.matched(one.image), self._trials.matched(other.image))

    def _rounded(self, trial: Trial) -> float:
        """Return the distance that the codec makes of values that are rounded to the next level."""
        draw = np.random.default_rng(0)
        flips = draw.choice([-1, 0, 1], trial.image.shape, p=[ROUNDED / 2, 1 - ROUNDED, ROUNDED / 2])
        other = np.clip(trial.image + flips, 0, 255).astype(np.uint8)
        return rms(self._trials.matched(trial.image), self._trials.matched(other))
