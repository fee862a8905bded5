"""Which other first latents a preview was drawn from, by short renders.

A seed decides where things lie, which a quarter of the steps shows, and better than a stop after as many
calls (benchmarks/other_noise.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.diagnosis.factors import Factor, factors, is_usual
from harness.diagnosis.trials import Trial, TrialRenderer

Gain = tuple[float, Factor]
FIRST_LOOK = 4
"""Other latents of which a short render is made before it is decided whether the recorded ones are right."""
CLEARLY_RIGHT, RIGHT = 0.75, 0.9
"""Share of the nearest other short render's distance that the recorded latents' own leaves at most where they
are right: of the first look, and of all."""
WRONG = 0.9
"""Share of the own short render's distance that another leaves at most where these latents are wrong."""
WHOLE = 0.7
"""Share of its short render's distance that a whole render leaves only from the right latents: from others
the two are about as far."""
ABOUT = 1.12
"""How much farther than the nearest short render one may be to be rendered whole too."""
CLEAR = 0.85
"""Share of the distance of the base's own and of the second nearest that the nearest leaves to be clear."""
MAX_WHOLE = 3
"""Other latents that are rendered whole, at most."""


class OtherNoise:
    """The noise that a preview may have been drawn from, on top of ``base``, by short renders.

    Args:
        found: noise factors, also of schedulers that draw on the way.

    Attributes:
        likely: what short renders make likely, best first; empty before ``near``.
        drawn: schedulers that draw on the way, of which short renders say nothing.
    """

    def __init__(self, trials: TrialRenderer, base: Trial, found: Sequence[Factor]) -> None:
        self._trials, self._base = trials, base
        self.likely: list[Factor] = []
        self.drawn = [each for each in found if not is_first(each)]
        self._usual = [each for each in found if is_usual(each)]
        self._typed = [each for each in found if is_first(each) and not is_usual(each)]
        self._gains: list[Gain] = []

    def near(self, others: Sequence[Factor]) -> list[Factor]:
        """Return the other era, ``others`` among it, and the seed, where they are clearly nearer."""
        usual = [each for each in self._usual if is_first(each)]
        self._gains = first_gains(self._trials, self._base, [*usual, *others])
        self.likely = clear_noise(self._gains)
        return self.likely

    @property
    def is_wrong(self) -> bool:
        """Whether some other noise is clearly nearer than the base's own."""
        return is_noise_wrong(self._gains)

    def every(self) -> list[Factor]:
        """Return what is about the nearest, seeds that people type too; nothing where its own is right."""
        known = [each for _, each in self._gains]
        left = [each for each in self._typed if each not in known]
        if not left or not known or is_noise_right(self._gains):
            return []
        self._gains += gains(self._trials, self._base, left)
        self._gains.sort(key=lambda each: -each[0])
        self.likely = likely_noise(self._gains)
        return self.likely

    def usual(self) -> list[Factor]:
        """Return all but typed seeds, those with the nearest short renders first."""
        ranked = [each for _, each in self._gains if each in self._usual]
        return [*ranked, *(each for each in self._usual if each not in ranked)]

    def typed(self) -> list[Factor]:
        """Return the seeds that people type, by their short renders."""
        found = factors(self._trials, self._base.settings, lambda axis: axis.name == "seed")
        typed = [each for each in found if not is_usual(each)]
        return [each for _, each in gains(self._trials, self._base, typed)]


def is_first(factor: Factor) -> bool:
    """Whether it draws other first latents, and not only on the way."""
    return factor.axis.name != "scheduler"


def gains(trials: TrialRenderer, base: Trial, found: Sequence[Factor]) -> list[Gain]:
    """Return noise factors with the share of the distance of the base's short render that theirs saves.

    The best comes first. A share is below 0 where a factor's short render is farther than the base's.
    """
    own = trials.short(base.settings)
    if own is None or own.distance == 0:
        return []
    made = [(trials.short(factor.settings(factor.values[0])), factor) for factor in found]
    known = [(1 - each.distance / own.distance, factor) for each, factor in made if each is not None]
    return sorted(known, key=lambda each: -each[0])


def first_gains(trials: TrialRenderer, base: Trial, found: Sequence[Factor]) -> list[Gain]:
    """Return the gains of ``found``, of a few or none where the base's latents are seen to be right."""
    own = trials.short(base.settings)
    if own is None or base.distance < WHOLE * own.distance:
        return []
    few = gains(trials, base, found[:FIRST_LOOK])
    return few if _best(few) < 1 - 1 / CLEARLY_RIGHT else gains(trials, base, found)


def is_noise_right(found: Iterable[Gain]) -> bool:
    """Whether the base's own short render is so much nearer than the others that its latents are right."""
    return _best(found) < 1 - 1 / RIGHT


def is_noise_wrong(found: Iterable[Gain]) -> bool:
    """Whether another short render is clearly nearer than the base's own."""
    return _best(found) > 1 - WRONG


def likely_noise(found: Sequence[Gain]) -> list[Factor]:
    """Return the noise whose short renders are about the nearest; none where the base's own is right."""
    limit = ABOUT * (1 - _best(found))
    return [] if is_noise_right(found) else [each for gain, each in found if 1 - gain <= limit][:MAX_WHOLE]


def clear_noise(found: Sequence[Gain]) -> list[Factor]:
    """Return the other era where its short render is nearer, and the noise whose alone is near.

    Every torch before 2.12 drew as the legacy era does, so that it is likelier than any one seed.
    """
    if not found:
        return []
    (best, factor), second = found[0], found[1][0] if len(found) > 1 else 0.0
    era = [each for gain, each in found if gain > 0 and each.axis.name == "noise"]
    clear = [factor] if 1 - best < CLEAR * min(1.0, 1 - second) and factor not in era else []
    return [*era, *clear]


def _best(found: Iterable[Gain]) -> float:
    return max((gain for gain, _ in found), default=-1.0)
