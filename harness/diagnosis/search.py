"""Find the settings that bring a preview back, in stages; docs/diagnosis.md states their order and promise.

Every single factor, the likeliest first and numbers narrowed; what is left of every number's values; pairs on
top of the nearest; numerics. A stage ends the search where the preview is identical, or within the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.diagnosis.estimates import Estimate, Estimator
from harness.diagnosis.factors import LORA_AXES, Factor, factors
from harness.diagnosis.floor import MAX_FLOOR, MIN_FLOOR, Floor
from harness.diagnosis.narrowing import narrow
from harness.diagnosis.path import minimal_path, untried_factors
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, words
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import Value

POINTING, LIKELY, STRONG = 0.1, 0.25, 0.45
"""Cosines from which a factor points to the preview at all, is likely, and is tried before other noise."""
LEADS = 0.85
"""Share of the distance that a factor leaves at most to be followed by others before the unusual values."""
ALONE = 0.4
"""The same for a factor that is followed at once; the other single factors come after it."""
MIN_GAIN = 0.1
"""Share of the distance that a further factor must remove to be accepted."""
MIN_COMPOSITION_GAIN = 0.03
"""Coarse correlation that an early stop of other noise gains to be a base for pairs, however far it ends."""
NOISE_FROM = 25.0
"""Distance from which other noise is likely, though the composition may be the same."""
ROUNDING_REACH, QUANTIZE_REACH = 10.0, 40.0
"""Distances that other rounding and other quantization hardly exceed."""
BASES, DEPTH = 3, 3
"""Trials that further factors are tried on top of, and how many factors a cause may have."""
CONFIRMING, CLOSE = 24, 1.5
"""Renders that look for identity once a trial is within the floor, and how near an estimate must be, in the
base's own distance, to be among them."""
LEFTOVERS = {"guidance_scale": -3, "network_multiplier": -2, "steps": -1}
POLISHING = ("dtype", "lora_mode", "attention")

Tell = Callable[[str], None]


@dataclass
class Search:
    """A finished search.

    Attributes:
        reference: the case's own render.
        floor: at the settings found; None where nothing came near enough to measure one.
        path: accepted trials, one factor more in each, best last; empty where nothing helps.
        explained: the last trial, or the reference, is identical to the preview or within the floor.
        proven: the path begins with settings that made a control identical.
        untried: factors of which values were not rendered, with the reason.
    """

    reference: Trial
    floor: float | None = None
    path: list[Trial] = field(default_factory=list)
    explained: bool = False
    proven: bool = False
    untried: dict[str, str] = field(default_factory=dict)


def search(
    trials: TrialRenderer,
    budget: float,
    tell: Tell = lambda _: None,
    *,
    start: Settings = MappingProxyType({}),
    cleared: bool = False,
    tool_floor: float | None = None,
) -> Search:
    """Search the settings that explain the preview, spending at most ``budget`` renders of the case's own.

    Args:
        tell: called with one line before each stage.
        start: settings that a control found; where they come nearer here, the search goes on from them.
        cleared: a control was identical with them, so that only the LoRA is left to explain anything.
        tool_floor: for an image of another tool, what its own kernels make of the distance at least, 0 to
            255: no trial can be identical, and none is sought once one is within it.

    Raises:
        HarnessError: the case's own settings cannot be rendered here.
    """
    stages = _Stages(trials, budget, tell, cleared, tool_floor)
    stages.run(start)
    return stages.finished()


class _Stages:
    def __init__(
        self, trials: TrialRenderer, budget: float, tell: Tell, cleared: bool, tool_floor: float | None
    ) -> None:
        self.trials, self.budget, self.tell, self.cleared = trials, budget, tell, cleared
        self.confirming = CONFIRMING if tool_floor is None else 0
        self.reference = self.base = trials.trial({})
        self.floor = Floor(trials, tool_floor or MIN_FLOOR)
        self.limit = math.inf
        self.drawn: Settings | None = None

    # --- stages

    def run(self, start: Settings) -> None:
        """Run the stages until one explains the preview or the budget is spent."""
        if start and (trial := self.trials.attempt(start)) is not None:
            allowed = 1 + (MIN_GAIN if self.cleared else 0)
            self.base = trial if trial.distance < allowed * self.reference.distance else self.reference
        self.base = base = self._sized(self.base)
        if self._settled() or math.isinf(base.distance):
            return
        self.tell("single factors")
        singles = self._single(base)
        if self._each(singles, until=self._stands_alone):
            return
        if self._stands_alone():
            best = self._best()
            self.tell(f"on top of {words(best.settings)}")
            self._each(self._further(best))
            if self._best().distance == 0 or self._each(singles):
                return
        bases = [base]
        for depth in range(2, DEPTH + 1):
            bases = self._bases(bases)
            drawn = self.trials.attempt(self.drawn) if depth == 2 and self.drawn else None
            if drawn is not None and all(each.settings != drawn.settings for each in bases):
                bases = [*bases[: BASES - 1], drawn]
            leads = bool(bases) and bases[0].distance < LEADS * self.reference.distance
            if leads and self._on_top_of(bases[:1]):
                return
            if depth == 2 and self._leftovers(base):
                return
            if self._on_top_of(bases[leads:]):
                return

    def _on_top_of(self, bases: list[Trial]) -> bool:
        """Render further factors on top of each base; return whether the search is settled."""
        for each in bases:
            self.tell(f"on top of {words(each.settings)}")
            if self._each(self._further(each)):
                return True
        return self._settled()

    def _single(self, base: Trial) -> Iterator[Callable[[], None]]:
        """Yield the renders of every single factor, the likeliest first."""
        every = factors(self.trials, base.settings)
        noise, numeric, rest = _by_kind(every)
        if self.cleared:
            lora = [factor for factor in every if factor.axis.name in LORA_AXES]
            if self._covered():
                lora = [factor for factor in lora if factor.axis.name in POLISHING]
            yield from self._lines(base, self._ranked(base, lora))
            rest = [factor for factor in rest if factor not in lora]
            numeric = [factor for factor in numeric if factor not in lora]
            if self._covered():
                return
        recorded = self._recorded_numerics(numeric)
        yield from self._lines(base, _unranked(recorded))
        ranked = self._ranked(base, rest)
        far = self._is_other_picture(base) or base.distance > NOISE_FROM
        strong = STRONG if far else LIKELY
        yield from self._lines(base, [each for each in ranked if each.agreement >= strong])
        drawn = Estimator(self.trials, base).noise(noise) if far else []
        if drawn and drawn[0][0] > MIN_COMPOSITION_GAIN:
            self.drawn = drawn[0][1].settings(drawn[0][1].values[0])
        yield from self._noise(factor for gain, factor in drawn if gain > 0)
        ranked = [each for each in ranked if each.agreement < strong]
        unlikely = [each for each in ranked if each.agreement < LIKELY]
        numerics = _unranked(numeric)
        yield from self._lines(base, [each for each in ranked if each.agreement >= LIKELY])
        if not self._covered():
            yield from self._lines(base, self._by_distance(base, unlikely, numerics))
            yield from self._noise(noise)
        if self._covered():
            yield from self._identical(base, ranked, numerics)

    def _by_distance(self, base: Trial, unlikely: list[Estimate], numerics: list[Estimate]) -> list[Estimate]:
        """Return unlikely factors and numerics in the order that the distance suggests."""
        quantized = [each for each in numerics if each.factor.axis.name == "quantize"]
        rounded = [each for each in numerics if each not in quantized]
        if base.distance < ROUNDING_REACH:
            return [*rounded, *quantized, *unlikely]
        if base.distance > QUANTIZE_REACH:
            return [*unlikely, *quantized, *rounded]
        pointing = [each for each in unlikely if each.agreement >= POINTING]
        return [*pointing, *quantized, *(each for each in unlikely if each not in pointing), *rounded]

    def _identical(
        self, base: Trial, ranked: list[Estimate], numerics: list[Estimate]
    ) -> Iterator[Callable[[], None]]:
        """Yield what may be identical where a trial is within the floor: near schedules, then numerics."""
        yield from self._lines(base, numerics)
        yield from self._near(ranked, CLOSE * base.distance)
        gradual = [each for each in ranked if each.factor.own is not None and not each.factor.is_schedule]
        yield from self._lines(base, [each for each in gradual if each.agreement >= POINTING])
        if (best := self._best()) is not base:
            more = factors(self.trials, best.settings, lambda axis: axis.name in POLISHING)
            yield from self._lines(best, _unranked(more))
            schedules = [each for each in factors(self.trials, best.settings) if each.is_schedule]
            ranked = self._ranked(best, [each for each in schedules if not each.is_noise])
            yield from self._near(ranked, CLOSE * best.distance)

    def _near(self, ranked: list[Estimate], limit: float) -> Iterator[Callable[[], None]]:
        """Yield the values of schedules that are estimated within ``limit`` of the preview, nearest first."""
        near = [
            (left, value, each.factor) for each in ranked for value, left in each.left.items() if left < limit
        ]
        near.sort(key=lambda each: each[0])
        for _, value, factor in near[: CONFIRMING // 2]:
            yield lambda factor=factor, value=value: self._attempt(factor, value)  # type: ignore[misc]

    def _further(self, base: Trial) -> Iterator[Callable[[], None]]:
        """Yield the renders of one factor more on top of ``base``."""
        every = factors(self.trials, base.settings)
        noise, numeric, rest = _by_kind(every)
        ranked = self._ranked(base, rest)
        yield from self._lines(base, ranked[:6])
        if self._is_other_picture(base):
            yield from self._noise(factor for _, factor in Estimator(self.trials, base).noise(noise))
        if base.distance < NOISE_FROM:
            yield from self._lines(base, _unranked(numeric))

    def _leftovers(self, base: Trial) -> bool:
        """Render every value that is left of every factor; return whether the search is settled."""
        self.tell("what is left of every factor")
        every = factors(self.trials, base.settings)
        for factor in sorted(every, key=lambda each: LEFTOVERS.get(each.axis.name, 0)):
            for value in factor.values:
                if self._settled():
                    return True
                self.trials.attempt(factor.settings(value))
            if factor.own is not None and not self._settled():
                self._narrow_again(self._best_of(factor, base))
        return self._settled()

    # --- parts of stages

    def _lines(self, base: Trial, ranked: Iterable[Estimate]) -> Iterator[Callable[[], None]]:
        for each in ranked:
            yield lambda each=each: self._line(base, each)  # type: ignore[misc]

    def _line(self, base: Trial, estimate: Estimate) -> None:
        factor = estimate.factor
        if factor.own is None:
            self.trials.attempt(factor.settings(factor.values[0]))
            return
        assert factor.axis.grid is not None
        made = narrow(
            self.trials, base, factor, factor.axis.grid.snap(float(estimate.first)), self.floor.covers
        )
        best = min(made, key=lambda trial: trial.distance, default=base)
        if best.distance < base.distance and base.settings:
            self._narrow_again(best)

    def _noise(self, found: Iterable[Factor]) -> Iterator[Callable[[], None]]:
        for factor in found:
            yield lambda factor=factor: self._attempt(factor, factor.values[0])  # type: ignore[misc]

    def _attempt(self, factor: Factor, value: Value) -> None:
        self.trials.attempt(factor.settings(value))

    def _narrow_again(self, trial: Trial) -> None:
        """Narrow each number of a trial while the others stand."""
        for _ in range(DEPTH):
            before = trial
            for name in trial.settings:
                grid = AXES[name].grid
                if grid is None or self._settled():
                    continue
                own = float(trial.settings[name])
                rest = {key: value for key, value in trial.settings.items() if key != name}
                factor = Factor(AXES[name], rest, (own,), own)
                for beside in (own + grid.step, own - grid.step):
                    if trial is before:
                        made = narrow(self.trials, trial, factor, grid.snap(beside), self.floor.covers)
                        trial = min([trial, *made], key=lambda each: each.distance)
            if trial is before:
                return

    def _ranked(self, base: Trial, found: list[Factor]) -> list[Estimate]:
        by_weights = sorted(
            found, key=lambda each: self.trials.request(each.settings(each.values[0])).weights_key
        )
        estimator = Estimator(self.trials, base)
        return sorted((estimator.estimate(each) for each in by_weights), key=lambda each: -each.agreement)

    def _recorded_numerics(self, numeric: list[Factor]) -> list[Factor]:
        """Return the quantization that the job recorded and the case does not have."""
        trained = self.trials.context.case.trained
        kinds = {(True, True): "qfloat8", (True, False): "qfloat8-transformer", (False, True): "qfloat8-te"}
        wanted = kinds.get((trained.quantize, trained.quantize_te))
        return [each for each in numeric if each.axis.name == "quantize" and each.values[0] == wanted]

    def _sized(self, base: Trial) -> Trial:
        """Return ``base``, or what gives it the preview's size."""
        if not math.isinf(base.distance):
            return base
        for factor in factors(self.trials, base.settings, lambda axis: axis.name == "divisor"):
            trial = self.trials.attempt(factor.settings(factor.values[0]))
            if trial is not None and not math.isinf(trial.distance):
                return trial
        return base

    # --- what the stages ask

    def _each(self, renders: Iterator[Callable[[], None]], until: Callable[[], bool] = lambda: False) -> bool:
        """Make the renders one after the other, ``until``; return whether the search is settled."""
        for render in renders:
            if self._settled():
                return True
            render()
            if until():
                return self._settled()
        return self._settled() or self._covered()

    def _stands_alone(self) -> bool:
        """Whether one factor leaves so little that the next is sought on top of it, before other singles."""
        best = self._best()
        return len(best.settings) > len(self.base.settings) and best.distance < ALONE * self.base.distance

    def _settled(self) -> bool:
        if self.trials.spent >= self.budget or self._best().distance == 0:
            return True
        if not self._covered():
            return False
        self.limit = min(self.limit, self.trials.spent + self.confirming)
        return self.trials.spent >= self.limit

    def _covered(self) -> bool:
        return self.floor.covers(self._best())

    def _best(self) -> Trial:
        return min(self.trials.made, key=lambda trial: trial.distance)

    def _bases(self, before: list[Trial]) -> list[Trial]:
        """Return the nearest trials of one factor more than ``before`` that change different axes."""
        count = len(before[0].settings) + 1
        found: list[Trial] = []
        for trial in sorted(self.trials.made, key=lambda each: each.distance):
            axes = [set(each.settings) - set(before[0].settings) for each in found]
            new = set(trial.settings) - set(before[0].settings)
            if "attention" in trial.settings and len(trial.settings) > 1:
                continue  # a floor was measured with it
            if len(trial.settings) >= count and new and new not in axes:
                found.append(trial)
        return [each for each in found if each.distance < (1 - MIN_GAIN) * self.reference.distance][:BASES]

    def _best_of(self, factor: Factor, base: Trial) -> Trial:
        keys = {repr(factor.settings(value)) for value in factor.values}
        found = [trial for trial in self.trials.made if repr(trial.settings) in keys]
        return min([base, *found], key=lambda trial: trial.distance)

    def _is_other_picture(self, base: Trial) -> bool:
        return self.trials.composition(base) == "different"

    def finished(self) -> Search:
        """Return what came of it."""
        best, reference, start = self._best(), self.reference, self.base
        found = Search(reference, explained=self.floor.covers(best))
        if self.floor.covers(start) and best.distance > 0:
            best = start
        gained = best.distance < (1 - MIN_GAIN) * reference.distance
        found.proven = (
            self.cleared and bool(start.settings) and start.settings.items() <= best.settings.items()
        )
        if best is not reference and (gained or found.proven):
            kept = start.settings if self.cleared else {}
            found.path = minimal_path(self.trials, self.floor, best, kept)
            found.explained = self.floor.covers(found.path[-1])
        if 0 < best.distance <= MAX_FLOOR:
            found.floor = self.floor.at(best)
        found.untried = untried_factors(self.trials, best, spent=self.trials.spent >= self.budget)
        return found


def _by_kind(every: Iterable[Factor]) -> tuple[list[Factor], list[Factor], list[Factor]]:
    """Return the factors that change the noise, those that only compute otherwise, and the rest."""
    noise: list[Factor] = []
    numeric: list[Factor] = []
    rest: list[Factor] = []
    for factor in every:
        (noise if factor.is_noise else numeric if factor.is_numeric else rest).append(factor)
    return noise, numeric, rest


def _unranked(found: Iterable[Factor]) -> list[Estimate]:
    """Return factors to be rendered in their own order: nothing was estimated of them."""
    return [Estimate(factor, 0.0, factor.values[0]) for factor in found]
