"""Find the settings that bring the preview back: estimates, whole renders of the likeliest, greedily."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from harness.diagnosis.bench import Bench, Settings, Trial, rms
from harness.diagnosis.ranking import Estimate, Ranking, numbers_of
from harness.variants.axes import ATTENTION
from harness.variants.values import Value

CLEAR = 0.75
"""Share of the distance below which an estimate is tried before the next group is estimated."""
FIRST_PATIENCE, PATIENCE = 2, 6
"""Whole renders in a row that may fail to improve, after each group and after each batch."""
STANDS_OUT = 0.25
"""Share of the distance that may be left where a round ends early: the factor stands out."""
FOUND_AGAIN = 0.5
"""The same where a trial brings the composition back: other seeds of one prompt can come near it too."""
ROUNDS = 3
BEAM = 2
FLOOR_FACTOR = 1.5
MIN_GAIN = 0.1
"""Share of the distance that a further factor must remove to be accepted."""

Tell = Callable[[str], None]


@dataclass
class Search:
    """A finished search.

    Attributes:
        reference: the case's own render.
        floor: root mean square difference that equally valid kernels make, codec-matched, 0 to 255.
        path: accepted trials, one factor more in each, best last; empty where nothing helps.
        singles: every whole render of the first round, best first.
        ranked: the groups of the first round, in order, each with its estimates, best first.
        explained: the last trial is identical to the preview, or within the floor.
    """

    reference: Trial
    floor: float
    path: list[Trial] = field(default_factory=list)
    singles: list[Trial] = field(default_factory=list)
    ranked: list[list[Estimate]] = field(default_factory=list)
    explained: bool = False


def search(
    bench: Bench,
    budget: float,
    tell: Tell = lambda _: None,
    *,
    start: Settings = MappingProxyType({}),
    lora_first: bool = False,
) -> Search:
    """Search the settings that explain the preview, spending at most ``budget`` renders of the case's own.

    Args:
        tell: called with one line before each round.
        start: settings that a control proved; if they help here, the search goes on from them.
        lora_first: a control cleared everything but the LoRA.
    """
    reference = bench.trace({})
    kernel = bench.trial({"attention": ATTENTION[bench.context.device][1]})
    floor = FLOOR_FACTOR * rms(bench.matched(reference.image), bench.matched(kernel.image))
    found = Search(reference, floor)
    if 0 in {reference.distance, kernel.distance}:
        found.explained = True
        found.path = [kernel] if reference.distance else []
        return found
    rounds = _Rounds(bench, found, budget, lora_first)
    if reference.distance <= floor:
        tell("within the floor: looking for an identical picture among numerics")
        found.explained = True
        polished = rounds.polish(reference)
        found.path = [polished] if polished.distance == 0 else []
        return found
    if start and rounds.helps(trial := bench.trial(start)):
        best = [trial]
    else:
        tell("ranking single factors")
        first = rounds.extend(reference, found.ranked)
        found.singles = sorted(first, key=lambda trial: trial.distance)
        best = [trial for trial in found.singles if trial.distance < reference.distance][:BEAM]
        best = sorted([*best, *rounds.neighbours(best)], key=lambda trial: trial.distance)[:BEAM]
        best = sorted([*best, *rounds.pairs(best, tell)], key=lambda trial: trial.distance)[:BEAM]
    for _ in range(ROUNDS - 1):
        if rounds.done(best) or not best:
            break
        tell(f"adding to {', '.join(str(dict(trial.settings)) for trial in best)}")
        grown: list[Trial] = []
        for base in best:
            if not rounds.done(grown):
                grown += rounds.extend(bench.trace(base.settings), [])
        better = [trial for trial in grown if trial.distance < (1 - MIN_GAIN) * best[0].distance]
        if not better:
            break
        best = sorted([*best, *better], key=lambda trial: trial.distance)[:BEAM]
    if best and rounds.enough(best[0]):
        best = [rounds.polish(best[0])]
    if best and rounds.helps(best[0]):
        found.path = rounds.path(best[0])
        found.explained = rounds.enough(found.path[-1]) or found.path[-1].distance == 0
    return found


@dataclass
class _Rounds:
    bench: Bench
    found: Search
    budget: float
    lora_first: bool

    def extend(self, base: Trial, ranked: list[list[Estimate]]) -> list[Trial]:
        """Return whole renders of ``base`` with one more factor, until one suffices.

        After each group what stands out is tried, of noise for another picture everything; after each batch
        what may come nearer than ``base``, and in the end the likeliest of the others.

        Args:
            ranked: takes the groups as they are estimated.
        """
        ranking = Ranking(self.bench, base, self.budget)
        race = _Race(self, ranking, base)
        for batch in ranking.batches(self.lora_first):
            for group in batch:
                ranked.append(group)
                race.waiting += group
                limit, patience = CLEAR * base.distance, FIRST_PATIENCE
                if ranking.decides_composition(group):
                    limit, patience = math.inf, len(group)
                if race.run("distance", limit, patience):
                    return race.trials
            if race.run("hope", base.distance, PATIENCE):
                return race.trials
        race.run("distance", math.inf, PATIENCE)
        return race.trials

    def settled(self, base: Trial, trials: list[Trial]) -> bool:
        """Whether a round can end: enough, one factor clearly stands out, or brings the picture back."""
        return (
            self.done(trials)
            or self.stands_out(base, trials)
            or any(self._is_found_again(base, trial) for trial in trials)
        )

    def stands_out(self, base: Trial, trials: list[Trial]) -> bool:
        """Whether a trial leaves little of its base's distance."""
        return any(trial.distance < STANDS_OUT * base.distance for trial in trials)

    def neighbours(self, best: list[Trial]) -> list[Trial]:
        """Return whole renders of the values beside the best one, each way while they come nearer.

        An estimate tells which number matters better than it tells which value of it is right.
        """
        if not best or self.done(best) or len(best[0].settings) > 1:
            return []
        ((name, value),) = best[0].settings.items()
        values = numbers_of(self.bench, name)
        if value not in values:
            return []
        made: list[Trial] = []
        for way in (values[values.index(value) + 1 :], values[: values.index(value)][::-1]):
            nearest = best[0].distance
            for other in way:
                made.append(trial := self.bench.trial({name: other}))
                if trial.distance >= nearest or self.done(made):
                    break
                nearest = trial.distance
        return made

    def pairs(self, best: list[Trial], tell: Tell) -> list[Trial]:
        """Return whole renders of pairs that no single factor leads to, where ``best`` leaves much open.

        Of noise settings while all show another picture than the preview, else of steps on other schedules.
        """
        base = self.found.reference
        ranking = Ranking(self.bench, base, self.budget)
        if self.done(best):
            return []
        if all(self.bench.composition(trial) == "different" for trial in [base, *best]):
            tell("ranking pairs of noise settings")
            race = _Race(self, ranking, base, ranking.noise_pairs())
            race.run("distance", math.inf, BEAM + 1)
            return race.trials
        if self.stands_out(base, best):
            return []
        tell("following pairs of schedules")
        race = _Race(self, ranking, base, ranking.schedule_pairs())
        race.run("distance", CLEAR * base.distance, FIRST_PATIENCE)
        return [trial for trial in race.trials if self.stands_out(base, [trial])]

    def polish(self, base: Trial) -> Trial:
        """Return ``base`` with the one numeric setting that makes it identical, or ``base``.

        Within the floor nothing less than identity tells two settings apart.
        """
        if base.distance == 0:
            return base
        for settings in self._numerics(base):
            if self.bench.spent < self.budget and (trial := self.bench.trial(settings)).distance == 0:
                return trial
        return base

    def _numerics(self, base: Trial) -> list[Settings]:
        return Ranking(self.bench, base, self.budget).numerics()

    def helps(self, trial: Trial) -> bool:
        """Whether a trial is clearly nearer than the case's own render."""
        return trial.distance < (1 - MIN_GAIN) * self.found.reference.distance

    def enough(self, trial: Trial) -> bool:
        """Whether a trial is within the floor and clearly nearer than the case's own render."""
        return trial.distance <= self.found.floor and trial.distance < 0.5 * self.found.reference.distance

    def done(self, trials: list[Trial]) -> bool:
        """Whether the best trial suffices or the budget is spent."""
        return self.bench.spent >= self.budget or any(
            trial.distance == 0 or self.enough(trial) for trial in trials
        )

    def path(self, best: Trial) -> list[Trial]:
        """Return ``best`` built up one factor at a time, the strongest first, without idle factors."""
        settings = dict(best.settings)
        for name in list(settings):
            less = {key: value for key, value in settings.items() if key != name}
            if less and self.bench.trial(less).distance <= best.distance:
                settings = less
        steps: list[Trial] = []
        taken: dict[str, Value] = {}
        while len(taken) < len(settings):
            left = [{**taken, name: settings[name]} for name in settings if name not in taken]
            step = min((self.bench.trial(each) for each in left), key=lambda trial: trial.distance)
            taken = dict(step.settings)
            steps.append(step)
        return steps

    def _is_found_again(self, base: Trial, trial: Trial) -> bool:
        """Whether a trial shows the preview's composition and its base does not: only noise does that."""
        nearer = trial.distance < FOUND_AGAIN * base.distance
        return nearer and (self.bench.composition(base), self.bench.composition(trial)) == (
            "different",
            "same",
        )


@dataclass
class _Race:
    """Whole renders of the likeliest first; what is only half asked for is asked before it is rendered."""

    rounds: _Rounds
    ranking: Ranking
    base: Trial
    waiting: list[Estimate] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def run(self, by: Literal["distance", "hope"], limit: float, patience: int) -> bool:
        """Try what is below ``limit``; return whether the round is settled.

        Args:
            patience: whole renders in a row that may fail to improve.
        """
        best, idle = self.base.distance, 0
        while self.waiting and idle < patience and not self.rounds.done(self.trials):
            likeliest = min(self.waiting, key=lambda each: float(getattr(each, by)))
            if getattr(likeliest, by) >= limit:
                break
            self.waiting.remove(likeliest)
            if refined := self.ranking.refined(likeliest):
                self.waiting.append(refined)
                continue
            trial = self.rounds.bench.trial(likeliest.settings)
            self.trials.append(trial)
            if self.rounds.settled(self.base, [trial]):
                return True
            idle = 0 if trial.distance < best else idle + 1
            best = min(best, trial.distance)
        return self.rounds.done(self.trials)
