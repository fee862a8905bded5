"""One factor more on top of what was rendered, the best estimate of all first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from harness.diagnosis.estimates import Estimate
from harness.diagnosis.factors import Factor, by_kind, draw_noise, factors, is_usual
from harness.diagnosis.groups import LIKELY, POINTING, QUANTIZE_REACH
from harness.diagnosis.lines import Lines, unranked
from harness.diagnosis.narrowing import MAX_ROUNDING
from harness.diagnosis.other_noise import gains, is_first
from harness.diagnosis.quantized import Quantized, recorded
from harness.diagnosis.scans import Scans
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.shortlist import STANDS_OUT
from harness.diagnosis.singles import COARSE, NOISE_FROM, firsts
from harness.diagnosis.superposed import superposed
from harness.diagnosis.trials import Settings, Trial, changed_axes

MAX_BASES = 5
MAX_PAIRS = 14
"""Factors on top of others that are tried before the values that are left of every single factor."""
MAX_ON_ONE = 30
"""The same on top of one base, which leaves little."""
NO_NEARER = 1.05
"""Share of the distance that a base may have: of two factors, one alone may come no nearer."""
LITTLE_LEFT = 25.0
"""Distance up to which one more factor changes the picture gradually, unless an estimate points to it."""
MIN_RESIDUE = 4.0
"""Distance that quantization hardly falls short of."""
MAX_CROSSED = 4
"""Pairs of trials that come nearer, each alone, that are tried together before others on top of them."""
MAX_LEADERS = 2
"""Trials on top of which short renders look for one more setting."""
MAX_ALONE, MAX_OF_AXIS, MAX_SHORT = 9, 2, 24
"""Settings alone that short renders cross, of one axis, and pairs of them."""
MAX_QUANTIZERS = 6
"""Rarer quantizers on top of a trial near the preview."""
RANKED = ("network_multiplier", "guidance_scale")
"""Numbers of which short renders rank the values."""
GAINS = 0.6
"""Cosine that other noise is taken to have where its short render is clearly nearer."""
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
        is_near = base.distance <= LITTLE_LEFT
        noise, numeric, rest = by_kind(factors(trials, base.settings))
        known = recorded(trials, numeric)
        possible = [each for each in numeric if is_usual(each) and _is_possible(each, base.distance)]
        possible += [each for each in known if each not in possible]
        alone = len(self._bases) == 1 and not draw_noise(base.settings) and not is_near
        first = [each for each in noise if is_first(each)] if alone else []
        drawn = gains(trials, base, first) if first else []  # short renders cost some
        ranked = self._lines.ranked(base, rest)
        if is_near:  # what changes the picture itself would have to point to what is missing
            ranked = [each for each in ranked if _is_gradual(each.factor) or each.agreement >= POINTING]
            ranked += self._quantizers(base, numeric)
        return [*unranked(possible), *ranked, *(_of_noise(*each) for each in drawn)]

    def _quantizers(self, base: Trial, numeric: list[Factor]) -> list[Estimate]:
        """Return the likeliest of the rarer quantizers near the preview, on a CPU."""
        trials = self._progress.trials
        rare = [each for each in numeric if each.axis.name == "quantize" and not is_usual(each)]
        if not rare or len(self._bases) > 1 or trials.context.device == "cuda" or not trials.can_follow:
            return []
        ranked = Quantized(self._progress, self._lines, base, rare).ranked
        return [each for each in ranked if each.agreement >= LIKELY][:MAX_QUANTIZERS]


def _of_noise(gain: float, factor: Factor) -> Estimate:
    """Return an estimate of other noise: what its short render gains says whether, and not how far."""
    return Estimate(factor, GAINS if gain > 1 - STANDS_OUT else 0.0, factor.values[0])


def _left(base: Trial, estimate: Estimate) -> float:
    """Return the distance that a factor leaves if its estimate is right and its size is found."""
    if estimate.factor.is_numeric and not estimate.agreement:
        return UNKNOWN.get(estimate.factor.axis.name, 0.9) * base.distance
    return base.distance * math.sqrt(1 - max(0.0, estimate.agreement) ** 2)


def _is_gradual(factor: Factor) -> bool:
    """Whether a factor can change an image a little: a number, or another schedule."""
    return factor.own is not None or factor.is_schedule


def _is_possible(factor: Factor, distance: float) -> bool:
    if factor.axis.name == "quantize":
        return MIN_RESIDUE < distance < QUANTIZE_REACH
    return distance < NOISE_FROM


def together(progress: Progress, lines: Lines, base: Trial, bases: list[Trial]) -> Iterator[Render]:
    """Yield two settings at once: what was rendered alone, and what short renders show on ``bases``."""
    yield from lines.settings(superposed(progress.trials, base))
    yield from lines.settings(itertools.islice(_crossed(bases), MAX_CROSSED))
    if base.distance > MAX_ROUNDING:
        yield from Scans(lines).shortly(base, _alone(progress, base))
        for leader in _leaders(bases, base):
            yield from _shortly(progress, lines, leader)


def _crossed(trials: list[Trial]) -> Iterator[Settings]:
    """Yield the settings of each two trials together, where they change different axes."""
    for one, other in itertools.combinations(trials, 2):
        if not one.settings.keys() & other.settings.keys():
            yield {**one.settings, **other.settings}


def _alone(progress: Progress, base: Trial) -> list[Settings]:
    """Return pairs of the nearest settings that were rendered alone, a few of each axis."""
    alone: list[Trial] = []
    for trial in sorted(progress.trials.made, key=lambda each: each.distance):
        axes = changed_axes(trial.settings, base.settings)
        of_axes = sum(changed_axes(each.settings, base.settings) == axes for each in alone)
        if len(axes) == 1 and not trial.measures_floor and of_axes < MAX_OF_AXIS:
            alone.append(trial)
    pairs = itertools.combinations(alone[:MAX_ALONE], 2)
    nearest_first = sorted(pairs, key=lambda each: each[0].distance * each[1].distance)
    crossed = itertools.chain.from_iterable(_crossed(list(each)) for each in nearest_first)
    return list(itertools.islice(crossed, MAX_SHORT))


def _leaders(bases: list[Trial], base: Trial) -> list[Trial]:
    """Return the bases on top of which short renders look for another setting: far ones of different axes."""
    found: list[Trial] = []
    for trial in sorted(bases, key=lambda each: draw_noise(each.settings)):
        axes = [changed_axes(each.settings, base.settings) for each in found]
        if trial.distance > MAX_ROUNDING and changed_axes(trial.settings, base.settings) not in axes:
            found.append(trial)
    return found[:MAX_LEADERS]


def _shortly(progress: Progress, lines: Lines, base: Trial) -> Iterator[Render]:
    """Yield what stands out among short renders of one more factor on top of ``base``."""
    noise, numeric, rest = by_kind(factors(progress.trials, base.settings))
    drawn = [each for each in noise if is_first(each) and is_usual(each)]
    others = [each for each in rest if each.own is None]
    coarse = [each for each in numeric if each.values[0] in COARSE]
    scans = Scans(lines)
    yield from scans.scan_shortly(base, [each for each in rest if each.axis.name in RANKED])
    for found in (drawn, others, coarse if progress.trials.context.device == "cpu" else []):
        yield from scans.shortly(base, firsts(found))
    yield from scans.nearest_of_all(base)


def bases_of(progress: Progress, base: Trial, count: int, share: float = NO_NEARER) -> list[Trial]:
    """Return the nearest trials with at least ``count`` settings more than ``base``, of different axes.

    Args:
        share: how much of the base's distance they may leave.
    """
    found: list[Trial] = []
    for trial in sorted(progress.trials.made, key=lambda each: each.distance):
        new = set(trial.settings) - set(base.settings)
        taken = [set(each.settings) - set(base.settings) for each in found]
        if (
            len(changed_axes(trial.settings, base.settings)) >= count
            and not trial.measures_floor
            and new not in taken
        ):
            found.append(trial)
    return [each for each in found if each.distance < share * base.distance][:MAX_BASES]
