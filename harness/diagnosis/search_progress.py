"""What a search has found so far, and whether it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from harness.diagnosis.factors import ROUNDING_AXES, draw_noise
from harness.diagnosis.floor import FACTOR, FACTOR_ELSEWHERE, MAX_FLOOR, MIN_FLOOR, Floor
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.schema.result import NO_BF16_KERNELS

CONFIRMING, CONFIRMING_ELSEWHERE = 40, 14
"""Renders that look for identity once a trial is within the floor; for what comes clearly nearer, where
another machine rendered the preview or no other tool computes as this processor does."""
ALONE, FAR, ALONE_IF_FAR, DRAWN_IF_FAR = 0.4, 30.0, 0.66, 0.5
"""Share of the distance that a trial leaves at most to be followed at once by others on top of it; from where
it is far, and the shares there: hardly anything comes that near by chance, other noise the likeliest."""
HARDLY = 0.8
"""Share of a distance beyond its floor that another value of the same axes leaves at least to be as far."""

Render = Callable[[], None]


class Progress:
    """The state of one search.

    Args:
        budget: renders of the case's own length to spend at most.
        tool_floor: for an image of another tool, its own floor, 0 to 255; identity is not looked for then.
        elsewhere: another machine rendered the preview.

    Raises:
        HarnessError: the case's own settings cannot be rendered here.
    """

    def __init__(
        self, trials: TrialRenderer, budget: float, tool_floor: float | None, *, elsewhere: bool = False
    ) -> None:
        self.trials = trials
        self.reference = trials.trial({})
        self.elsewhere, self.of_tool = elsewhere, tool_floor is not None
        self.taken_over: Settings = {}
        self.floor = Floor(trials, tool_floor or MIN_FLOOR, FACTOR_ELSEWHERE if elsewhere else FACTOR)
        self._budget, self._limit = budget, math.inf
        self._beyond: dict[frozenset[str], float] = {}
        is_alone = self.reference.rendered.engine_reason == NO_BF16_KERNELS
        confirming = CONFIRMING_ELSEWHERE if elsewhere or is_alone else CONFIRMING
        self._confirming = 0 if self.of_tool else confirming

    @property
    def best(self) -> Trial:
        """The nearest trial, of those that have what was taken over from a control."""
        return min(self._trials(), key=lambda trial: trial.distance)

    @property
    def followed(self) -> Trial:
        """The nearest trial that was not made to measure a floor."""
        plain = [each for each in self._trials() if not each.measures_floor]
        return min(plain, key=lambda each: each.distance)

    def _trials(self) -> list[Trial]:
        return [each for each in self.trials.made if self.taken_over.items() <= each.settings.items()]

    @property
    def is_spent(self) -> bool:
        """Whether the budget is spent."""
        return self.trials.spent >= self._budget

    @property
    def is_covered(self) -> bool:
        """Whether the nearest trial is identical or within the floor.

        Beside one that was beyond its floor, another value that comes hardly nearer is not measured anew.
        """
        best = self.best
        axes = frozenset(best.settings)
        if best.distance > HARDLY * self._beyond.get(axes, math.inf):
            return False
        is_covered = self.floor.covers(best)
        if not is_covered and best.distance <= MAX_FLOOR:
            self._beyond[axes] = best.distance
        return is_covered

    @property
    def is_settled(self) -> bool:
        """Whether the search ends: identical, the budget spent, or within the floor and nothing identical."""
        if self.is_spent or self.best.distance == 0:
            return True
        if math.isinf(self._limit) and self.is_covered:
            self._limit = self.trials.spent + self._confirming
        return self.trials.spent >= self._limit

    def stands_alone(self, base: Trial) -> bool:
        """Whether the nearest trial asks for more than ``base`` does and leaves little of its distance.

        Other rounding alone does not count: it may bring another picture near by chance.
        """
        best = self.followed
        if set(best.settings) - set(base.settings) <= set(ROUNDING_AXES):
            return False
        return len(best.settings) > len(base.settings) and best.distance < _share(best, base) * base.distance

    def run(self, renders: Iterator[Render], until: Callable[[], bool] = lambda: False) -> bool:
        """Make renders one after the other, ``until`` or till one is within the floor.

        Returns:
            whether the search is settled or a trial is within the floor.
        """
        while not self.is_settled and not self.is_covered:  # to ask for the next may cost estimates
            render = next(renders, None)
            if render is None:
                break
            render()
            if until():
                break
        return self.is_settled or self.is_covered

    def confirm(self, renders: Iterator[Render], until: Callable[[], bool] = lambda: False) -> None:
        """Make renders that may be identical, ``until`` or till the search is settled."""
        while not self.is_settled:
            render = next(renders, None)
            if render is None:
                return
            render()
            if until():
                return


def _share(best: Trial, base: Trial) -> float:
    """Return the share of the distance of ``base`` that ``best`` leaves at most to stand alone."""
    if base.distance <= FAR:
        return ALONE
    return DRAWN_IF_FAR if draw_noise(best.settings.keys() - base.settings.keys()) else ALONE_IF_FAR
