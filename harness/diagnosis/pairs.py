"""One factor more on top of what was rendered, the best estimate of all first."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import Factor, by_kind, factors
from harness.diagnosis.lines import Lines, unranked
from harness.diagnosis.quantized import is_usual, recorded
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.singles import MIN_COMPOSITION_GAIN, NOISE_FROM, QUANTIZE_REACH, is_first
from harness.diagnosis.trials import Trial
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Family

MAX_BASES = 5
MAX_PAIRS = 14
"""Factors on top of others that are tried before the values that are left of every single factor."""
MAX_ON_ONE = 30
"""The same on top of one base, which leaves little."""
NO_NEARER = 1.05
"""Share of the distance that a base may have: of two factors, one alone may come no nearer."""
MIN_RESIDUE = 4.0
"""Distance that quantization hardly falls short of."""
GAINS = 0.6
"""Cosine that other noise is taken to have where its early stop comes nearer to the composition."""
UNKNOWN = {"t5_attention": 0.8, "quantize": 0.95}
"""Shares of a base's distance that numerics are taken to leave, of which nothing was estimated."""


class Pairs:
    """Factors on top of several bases, in the order of the distance that each is estimated to leave."""

    def __init__(self, progress: Progress, lines: Lines, bases: list[Trial]) -> None:
        self._progress, self._lines, self._bases = progress, lines, bases

    def renders(self) -> Iterator[Render]:
        """Yield the renders; estimates cost a render or two for each base."""
        pool: list[tuple[float, Trial, Estimate]] = []
        for base in self._bases:
            if not self._progress.is_settled and not math.isinf(base.distance):
                pool += [(_left(base, each), base, each) for each in self._estimates(base)]
        for _, base, estimate in sorted(pool, key=lambda each: each[0]):
            yield from self._lines.each(base, [estimate])
        yield from self._lines.waiting()

    def _estimates(self, base: Trial) -> list[Estimate]:
        trials = self._progress.trials
        noise, numeric, rest = by_kind(factors(trials, base.settings))
        known = recorded(trials, numeric)
        possible = [each for each in numeric if is_usual(each) and _is_possible(each, base.distance)]
        possible += [each for each in known if each not in possible]
        alone = len(self._bases) == 1 and not _draws(base)  # early stops cost some renders
        drawn = Estimator(trials, base).noise([each for each in noise if is_first(each)]) if alone else []
        return [*unranked(possible), *self._lines.ranked(base, rest), *(_of_noise(*each) for each in drawn)]


def _draws(base: Trial) -> bool:
    """Whether a trial changes the noise already."""
    return any(AXES[name].family is Family.NOISE for name in base.settings)


def _of_noise(gain: float, factor: Factor) -> Estimate:
    """Return an estimate of other noise: what its early stop gains says whether, and not how far."""
    return Estimate(factor, GAINS if gain > MIN_COMPOSITION_GAIN else 0.0, factor.values[0])


def _left(base: Trial, estimate: Estimate) -> float:
    """Return the distance that a factor leaves if its estimate is right and its size is found."""
    if estimate.factor.is_numeric:
        return UNKNOWN.get(estimate.factor.axis.name, 0.9) * base.distance
    return base.distance * math.sqrt(1 - max(0.0, estimate.agreement) ** 2)


def _is_possible(factor: Factor, distance: float) -> bool:
    if factor.axis.name == "quantize":
        return MIN_RESIDUE < distance < QUANTIZE_REACH
    return distance < NOISE_FROM


def bases_of(progress: Progress, base: Trial, count: int, share: float = NO_NEARER) -> list[Trial]:
    """Return the nearest trials with at least ``count`` settings more than ``base``, of different axes.

    Args:
        share: how much of the base's distance they may leave.
    """
    found: list[Trial] = []
    for trial in sorted(progress.trials.made, key=lambda each: each.distance):
        new = set(trial.settings) - set(base.settings)
        taken = [set(each.settings) - set(base.settings) for each in found]
        if len(new - {"dynamic_shifting"} or new) >= count and not trial.measures_floor and new not in taken:
            found.append(trial)
    return [each for each in found if each.distance < share * base.distance][:MAX_BASES]
