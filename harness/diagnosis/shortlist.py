"""Which settings to render whole, by renders of a quarter of the steps.

These show the composition and most of what a setting changes, except one of the schedule itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.diagnosis.factors import Factor
from harness.diagnosis.trials import Settings, ShortRender, Trial, TrialRenderer

STANDS_OUT = 0.82
"""Share of the distance of the base's own short render that one leaves at most to stand out."""
NEARER = 0.95
"""The same for the nearest of all short renders to be rendered whole though none of its axis stands out."""
MAX_LISTED = 2
"""Settings to render whole."""


def likeliest(trials: TrialRenderer, base: Trial, found: list[Settings]) -> list[Settings]:
    """Return the settings that stand out; else the nearest by distance and the nearest by composition."""
    if listed := standing_out(trials, base, found):
        return listed
    made = list(_rendered(trials, found))
    alike = sorted(made, key=lambda each: -each.correlation)
    both = [each.settings for pair in zip(_nearest(made), alike, strict=True) for each in pair]
    return [each for number, each in enumerate(both) if each not in both[:number]][:MAX_LISTED]


def standing_out(trials: TrialRenderer, base: Trial, found: Iterable[Settings]) -> list[Settings]:
    """Return the settings whose short renders are clearly nearer than that of ``base``, the nearest first."""
    own = trials.short(base.settings)
    if own is None:
        return []
    near = [each for each in _rendered(trials, found) if each.distance < STANDS_OUT * own.distance]
    return [each.settings for each in _nearest(near)][:MAX_LISTED]


def nearest_of(trials: TrialRenderer, base: Trial, found: Iterable[Settings]) -> list[Settings]:
    """Return the setting whose short render is the nearest, where it is nearer than that of ``base``."""
    own = trials.short(base.settings)
    nearest = _nearest(list(_rendered(trials, found)))[:1]
    return [each.settings for each in nearest if own and each.distance < NEARER * own.distance]


def nearest_of_all(trials: TrialRenderer, base: Trial, count: int) -> list[Settings]:
    """Return the settings of the ``count`` nearest short renders on ``base`` that are nearer than its own."""
    own = trials.short(base.settings)
    if own is None:
        return []
    on_top = [each for each in trials.short_made if base.settings.items() <= each.settings.items()]
    nearer = [each for each in on_top if each.distance < NEARER * own.distance]
    return [each.settings for each in _nearest(nearer)][:count]


def bracketed(trials: TrialRenderer, base: Trial, factor: Factor) -> list[float]:
    """Return every third usual value of a number, and two to either side of what is nearest among them."""
    assert factor.own is not None
    values = sorted({*map(float, factor.values), factor.own})
    coarse = set(values[1::3]) - {factor.own}
    made = {value: trials.short(factor.settings(value)) for value in sorted(coarse)}
    known = {value: each.distance for value, each in made.items() if each is not None}
    if (own := trials.short(base.settings)) is not None:
        known[factor.own] = own.distance
    if not known:
        return []
    place = values.index(min(known, key=lambda value: known[value]))
    return sorted({*coarse, *values[max(0, place - 2) : place + 3]} - {factor.own})


def _rendered(trials: TrialRenderer, found: Iterable[Settings]) -> Iterator[ShortRender]:
    for settings in found:
        if (made := trials.short(settings)) is not None:
            yield made


def _nearest(found: list[ShortRender]) -> list[ShortRender]:
    return sorted(found, key=lambda each: each.distance)
