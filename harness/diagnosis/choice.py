"""Which of the trials of a search is told: the nearest, unless a plainer one is as valid."""

from __future__ import annotations

from harness.diagnosis.near import FLAT
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.trials import Trial
from harness.sweeps.axes import AXES

AS_VALID = 1.5
"""How much farther than the nearest value a more usual one within the floor may be to be told instead."""

KERNELS = frozenset({"t5_attention", "attention"})
BEYOND_ROUNDING = 0.4
"""Share of what other kernels leave, below which no rounding explains that a trial is nearer."""


class Choice:
    """Chooses among what a search rendered; ``base`` is what it began from."""

    def __init__(self, progress: Progress, base: Trial) -> None:
        self._progress, self._base, self._made = progress, base, progress.trials.made

    def nearest(self) -> Trial:
        """Return the nearest trial; within the floor one without another kernel, which made that floor."""
        best, floor = self._progress.best, self._progress.floor
        if best.distance == 0 or not floor.covers(best):
            return best
        known = self._base.settings.get("attention")
        plain = [each for each in self._made if each.settings.get("attention") == known]
        nearest_first = sorted(plain, key=lambda each: each.distance)
        return next(filter(floor.covers, nearest_first), best)  # to ask for a floor may cost a render

    def beyond_rounding(self) -> float:
        """Return how near a trial has to be to be told though what the search began from is within the floor.

        Two renders that only round otherwise are about as far from each other as from the preview, and one
        without rounding 0.7 of that.
        """
        start = self._base.settings
        other = [
            each
            for each in self._made
            if start.items() <= each.settings.items() and each.settings.keys() - start.keys() <= KERNELS
        ]
        return BEYOND_ROUNDING * min(each.distance for each in other)

    def usual(self, found: Trial) -> Trial:
        """Return ``found``, or a trial of its axes that is as valid, with values that are more usual."""
        near = [each for each in self._made if 0 < each.distance < AS_VALID * found.distance]
        same = [each for each in near if each.settings.keys() == found.settings.keys()]
        usual = [each for each in same if self._unusual(each) < self._unusual(found)]
        likeliest = sorted(usual, key=lambda each: (self._unusual(each), each.distance))
        return next(filter(self._is_valid, likeliest), found)

    def plainest(self) -> Trial | None:
        """Return the trial with the fewest settings that is about as near as the nearest, or None.

        It has to be within the floor, or within what T5's other kernel changes there.
        """
        limit = FLAT * self._progress.best.distance
        near = [each for each in self._made if each.distance < limit and not each.measures_floor]
        plain = min(
            near, key=lambda each: (len(each.settings), self._unusual(each), each.distance), default=None
        )
        return plain if plain is not None and self._is_valid(plain) else None

    def _is_valid(self, trial: Trial) -> bool:
        floor = self._progress.floor
        return floor.covers(trial) or trial.distance <= floor.of_t5(trial)

    def _unusual(self, trial: Trial) -> int:
        """Return how many of a trial's numbers have a value that is no usual one."""
        context = self._progress.trials.context
        return sum(
            AXES[name].grid is not None and value not in AXES[name].candidates(context)
            for name, value in trial.settings.items()
        )
