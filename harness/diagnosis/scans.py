"""All usual values of factors on top of a base: rendered whole, or ranked by short renders first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.diagnosis.factors import Factor
from harness.diagnosis.lines import AGAIN, NEARER, Lines
from harness.diagnosis.narrowing import MAX_ROUNDING, WIDE, narrow
from harness.diagnosis.search_progress import FAR, Render
from harness.diagnosis.shortlist import (
    MAX_LISTED,
    bracketed,
    likeliest,
    nearest_of,
    nearest_of_all,
    standing_out,
)
from harness.diagnosis.trials import Settings, Trial
from harness.sweeps.axis_values import Value

SHARP = 0.5
"""Share of the distance that a number leaves at most for all values between two usual ones to be rendered."""
UNSURE = "guidance_scale"
"""A number of which some values are rendered whole though no short render stands out: it has little effect in
few steps. Where the picture is not far, these are the usual ones next to its own."""
LEVEL = 1.015
"""How much farther than the best value of a number the next one is at most where the two are level."""


class Scans:
    """Renders the usual values of factors, and narrows numbers from the best of them."""

    def __init__(self, lines: Lines) -> None:
        self._lines, self._progress = lines, lines.progress

    def scan(self, base: Trial, found: Iterable[Factor]) -> Iterator[Render]:
        """Yield the renders of all usual values of each factor on ``base``, numbers narrowed from the best.

        A factor is rendered as a whole: what follows from a number is decided by its exact value.
        """
        for factor in found:
            yield lambda factor=factor: self._progress.run(self._scanned(base, factor))  # type: ignore[misc]

    def scan_shortly(self, base: Trial, found: Iterable[Factor]) -> Iterator[Render]:
        """Yield each number's values that short renders rank first, and what narrows it."""
        for factor in found:
            yield lambda factor=factor: self._progress.run(self._ranked_shortly(base, factor))  # type: ignore[misc]

    def _ranked_shortly(self, base: Trial, factor: Factor) -> Iterator[Render]:
        trials = self._progress.trials
        found = [factor.settings(value) for value in bracketed(trials, base, factor)]
        listed = standing_out(trials, base, found)
        if not listed and factor.axis.name == UNSURE:
            listed = next_usual(factor) if base.distance < FAR else likeliest(trials, base, found)
        yield from self._lines.settings(listed or nearest_of(trials, base, found))
        yield from self._narrowed(base, factor)

    def shortly(self, base: Trial, found: list[Settings], *, unsure: bool = False) -> Iterator[Render]:
        """Yield the settings of which a short render stands out; if none and ``unsure``, the nearest."""
        listed = likeliest if unsure else standing_out

        def render() -> None:
            self._progress.run(self._lines.settings(listed(self._progress.trials, base, found)))

        yield render

    def nearest_of_all(self, base: Trial, count: int = MAX_LISTED) -> Iterator[Render]:
        """Yield the ``count`` renders of which the short ones on top of ``base`` came nearest.

        The numbers of one that is clearly nearer are narrowed.
        """

        def render() -> None:
            listed = nearest_of_all(self._progress.trials, base, count)
            self._progress.run(self._lines.settings(listed))
            best = self._progress.followed
            if best.settings in listed and best.distance < NEARER * base.distance:
                self._lines.narrow_again(best)

        yield render

    def _scanned(self, base: Trial, factor: Factor) -> Iterator[Render]:
        for value in factor.values:
            yield lambda value=value: self._attempt(factor, value)  # type: ignore[misc]
        if factor.own is not None:
            yield from self._narrowed(base, factor)

    def _narrowed(self, base: Trial, factor: Factor) -> Iterator[Render]:
        """Yield what narrows a number from the best of its usual values, and the values beside that one."""
        keys = {repr(factor.settings(value)) for value in factor.values}
        usual = [trial for trial in self._progress.trials.made if repr(trial.settings) in keys]
        best, *others = sorted([base, *usual], key=lambda trial: trial.distance)
        narrowed: list[Trial] = []
        other = min(others, key=lambda trial: (trial is base, trial.distance), default=base)
        if best.distance < AGAIN * base.distance and not _are_level(best, other, base):
            yield lambda: narrowed.append(self._between_two(best, other, factor))
            yield lambda: narrowed.append(self._lines.narrow_again(narrowed[-1]))
        is_sharp = any(trial.distance < SHARP * base.distance for trial in narrowed)
        if is_sharp and factor.axis.name in best.settings:
            yield from self.between(factor, best)

    def _between_two(self, best: Trial, other: Trial, factor: Factor) -> Trial:
        """Narrow a number from its two nearest values, and return the nearest trial."""
        name, progress = factor.axis.name, self._progress
        if name not in other.settings:
            return best
        own = float(best.settings[name])
        first = float(other.settings[name])
        line = Factor(factor.axis, factor.base, (own,), own)
        made = narrow(progress.trials, best, line, first, progress.floor.covers)
        nearest = min([best, *made], key=lambda trial: trial.distance)
        middle = self._middle(best, factor) if nearest is best else None
        if middle is None or middle.distance >= best.distance:
            return nearest
        return self._between_two(middle, best, factor)

    def _middle(self, best: Trial, factor: Factor) -> Trial | None:
        """Render the middle of the wider gap beside ``best``; None where both are narrow or one is open."""
        grid, name = factor.axis.grid, factor.axis.name
        assert grid is not None
        assert factor.own is not None
        own = float(best.settings[name])
        on_line = [
            each.settings
            for each in self._progress.trials.made
            if {**each.settings, name: own} == best.settings and name in each.settings
        ]
        values = {factor.own, *(float(settings[name]) for settings in on_line)}
        below = max((value for value in values if value < own), default=own)
        above = min((value for value in values if value > own), default=own)
        far = max(below, above, key=lambda value: abs(value - own))
        if own in {below, above} or abs(far - own) <= WIDE * grid.step:
            return None
        return self._attempt(factor, grid.snap((own + far) / 2))

    def between(self, factor: Factor, trial: Trial) -> Iterator[Render]:
        """Yield the values of a number between the usual ones beside that of ``trial``, the nearest first."""
        grid, own = factor.axis.grid, float(trial.settings[factor.axis.name])
        assert grid is not None
        usual = sorted(float(value) for value in factor.values)
        low = max((value for value in usual if value < own), default=own)
        high = min((value for value in usual if value > own), default=own)
        count = round((high - low) / grid.step)
        inner = [grid.snap(low + number * grid.step) for number in range(1, count)]
        for value in sorted(inner, key=lambda value: abs(value - own)):
            yield lambda value=value: self._attempt(factor, value)  # type: ignore[misc]

    def _attempt(self, factor: Factor, value: Value) -> Trial | None:
        return self._progress.trials.attempt(factor.settings(value))


def next_usual(factor: Factor) -> list[Settings]:
    """Return the usual values of a number next to its own, on either side."""
    assert factor.own is not None
    own, values = factor.own, sorted(map(float, factor.values))
    below, above = [each for each in values if each < own][-1:], [each for each in values if each > own][:1]
    return [factor.settings(value) for value in (*below, *above)]


def _are_level(best: Trial, other: Trial, base: Trial) -> bool:
    """Whether two values of a number leave most of the distance, and the same: no valley lies between."""
    is_far = best.distance > max(MAX_ROUNDING, NEARER * base.distance)
    return other is not base and is_far and other.distance < LEVEL * best.distance
