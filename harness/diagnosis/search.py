"""Find the settings that bring the preview back: estimates, whole renders of the likeliest, greedily."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.diagnosis.ranking import Line, Ranking
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, rms
from harness.sweeps.axes import ATTENTION
from harness.sweeps.axis_values import Value

CLEAR = 0.75
"""Share of the distance below which the estimate of a pair of schedules is worth a render."""
STANDS_OUT, SURE = 0.25, 3
"""Share of the distance that may be left where a factor stands out, and how many lines are tried then."""
FOUND_AGAIN = 0.5
"""The same where a trial brings the composition back: other seeds of one prompt can come near it too."""
ONWARD = 0.99
"""Share of the distance that a number's value may leave at most for the next one to be tried."""
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
        ranked: the groups of lines of the first round, in order, the likeliest line first.
        explained: the last trial is identical to the preview, or within the floor.
    """

    reference: Trial
    floor: float
    path: list[Trial] = field(default_factory=list)
    singles: list[Trial] = field(default_factory=list)
    ranked: list[list[Line]] = field(default_factory=list)
    explained: bool = False


def search(
    trials: TrialRenderer,
    budget: float,
    tell: Tell = lambda _: None,
    *,
    start: Settings = MappingProxyType({}),
    lora_first: bool = False,
    identical: bool = True,
) -> Search:
    """Search the settings that explain the preview, spending at most ``budget`` renders of the case's own.

    Args:
        tell: called with one line before each round.
        start: settings that a control proved; where they come nearer here, the search goes on from them.
        lora_first: a control cleared everything but the LoRA, with ``start`` where there is one.
        identical: where a picture within the floor is found, look for an identical one among numerics.
    """
    reference = trials.trace({})
    kernel = trials.trial({"attention": ATTENTION[trials.context.device][1]})
    floor = FLOOR_FACTOR * rms(trials.matched(reference.image), trials.matched(kernel.image))
    found = Search(reference, floor)
    if 0 in {reference.distance, kernel.distance}:
        found.explained = True
        found.path = [kernel] if reference.distance else []
        return found
    rounds = _Rounds(trials, found, budget, lora_first)
    if reference.distance <= floor:
        found.explained = True
        if not identical:
            return found
        tell("within the floor: looking for an identical picture among numerics")
        polished = rounds.polish(reference)
        found.path = [polished] if polished.distance == 0 else []
        return found
    if start and (trial := trials.trial(start)).distance < reference.distance:
        best = [trial]
    else:
        tell("ranking single factors")
        first = rounds.extend(reference, found.ranked)
        found.singles = sorted(first, key=lambda trial: trial.distance)
        best = [trial for trial in found.singles if trial.distance < reference.distance][:BEAM]
        best = sorted([*best, *rounds.pairs(best, tell)], key=lambda trial: trial.distance)[:BEAM]
    for _ in range(ROUNDS - 1):
        if rounds.done(best) or not best:
            break
        tell(f"adding to {', '.join(str(dict(trial.settings)) for trial in best)}")
        grown: list[Trial] = []
        for base in best:
            if not rounds.done(grown):
                grown += rounds.extend(trials.trace(base.settings), [])
        better = [trial for trial in grown if trial.distance < (1 - MIN_GAIN) * best[0].distance]
        if not better:
            break
        best = sorted([*best, *better], key=lambda trial: trial.distance)[:BEAM]
    if identical and best and rounds.enough(best[0]):
        best = [rounds.polish(best[0])]
    if best and rounds.helps(best[0]):
        found.path = rounds.path(best[0])
        found.explained = rounds.enough(found.path[-1]) or found.path[-1].distance == 0
    return found


@dataclass
class _Rounds:
    trials: TrialRenderer
    found: Search
    budget: float
    lora_first: bool

    def extend(self, base: Trial, ranked: list[list[Line]]) -> list[Trial]:
        """Return whole renders of ``base`` with one more factor, the likeliest first, until one suffices.

        Args:
            ranked: takes the groups as they are estimated.
        """
        trials: list[Trial] = []
        for group, patience in Ranking(self.trials, base, self.budget).groups(self.lora_first):
            ranked.append(group)
            trials += self.race(base, group, patience)
            if self.settled(base, trials) or self.stands_out(base, trials):
                break
        return trials

    def race(self, base: Trial, lines: list[Line], patience: int) -> list[Trial]:
        """Return whole renders of the lines until the round is settled.

        Args:
            patience: lines in a row that may fail to improve.
        """
        trials: list[Trial] = []
        best, idle = base.distance, 0
        for line in lines:
            if idle >= (SURE if self.stands_out(base, trials) else patience) or self.done(trials):
                break
            made = self.along(base, line)
            trials += made
            if self.settled(base, made):
                break
            nearest = min(trial.distance for trial in made)
            idle = 0 if nearest < best else idle + 1
            best = min(best, nearest)
        return trials

    def along(self, base: Trial, line: Line) -> list[Trial]:
        """Return whole renders of a line's settings, while each is clearly nearer than the one before it."""
        made: list[Trial] = []
        nearest = base.distance
        for settings in line:
            made.append(trial := self.trials.trial(settings))
            if trial.distance > ONWARD * nearest or self.done(made):
                break
            nearest = trial.distance
        return made

    def settled(self, base: Trial, trials: list[Trial]) -> bool:
        """Whether a round can end: enough, or one factor brings the picture back."""
        return self.done(trials) or any(self._is_found_again(base, trial) for trial in trials)

    def stands_out(self, base: Trial, trials: list[Trial]) -> bool:
        """Whether a trial leaves little of its base's distance."""
        return any(trial.distance < STANDS_OUT * base.distance for trial in trials)

    def pairs(self, best: list[Trial], tell: Tell) -> list[Trial]:
        """Return whole renders of pairs that no single factor leads to, where ``best`` leaves much open.

        Of noise settings while all show another picture than the preview, else of steps on other schedules.
        """
        base = self.found.reference
        ranking = Ranking(self.trials, base, self.budget)
        if self.done(best):
            return []
        if all(self.trials.composition(trial) == "different" for trial in [base, *best]):
            tell("ranking pairs of noise settings")
            return self.race(base, ranking.noise_pairs(), BEAM + 1)
        if self.stands_out(base, best):
            return []
        tell("following pairs of schedules")
        clear = [each for each in ranking.schedule_pairs() if each.distance < CLEAR * base.distance]
        trials = self.race(base, [[each.settings] for each in clear], BEAM)
        return [trial for trial in trials if self.stands_out(base, [trial])]

    def polish(self, base: Trial) -> Trial:
        """Return ``base`` with the one numeric setting that makes it identical, or ``base``.

        Within the floor nothing less than identity tells two settings apart.
        """
        if base.distance == 0:
            return base
        for settings in self._numerics(base):
            if self.trials.spent < self.budget and (trial := self.trials.trial(settings)).distance == 0:
                return trial
        return base

    def _numerics(self, base: Trial) -> list[Settings]:
        return Ranking(self.trials, base, self.budget).numerics()

    def helps(self, trial: Trial) -> bool:
        """Whether a trial is clearly nearer than the case's own render."""
        return trial.distance < (1 - MIN_GAIN) * self.found.reference.distance

    def enough(self, trial: Trial) -> bool:
        """Whether a trial is within the floor and clearly nearer than the case's own render."""
        return trial.distance <= self.found.floor and trial.distance < 0.5 * self.found.reference.distance

    def done(self, trials: list[Trial]) -> bool:
        """Whether the best trial suffices or the budget is spent."""
        return self.trials.spent >= self.budget or any(
            trial.distance == 0 or self.enough(trial) for trial in trials
        )

    def path(self, best: Trial) -> list[Trial]:
        """Return ``best`` built up one factor at a time, the strongest first, without idle factors."""
        settings = dict(best.settings)
        for name in list(settings):
            less = {key: value for key, value in settings.items() if key != name}
            if less and self.trials.trial(less).distance <= best.distance:
                settings = less
        steps: list[Trial] = []
        taken: dict[str, Value] = {}
        while len(taken) < len(settings):
            left = [{**taken, name: settings[name]} for name in settings if name not in taken]
            step = min((self.trials.trial(each) for each in left), key=lambda trial: trial.distance)
            taken = dict(step.settings)
            steps.append(step)
        return steps

    def _is_found_again(self, base: Trial, trial: Trial) -> bool:
        """Whether a trial shows the preview's composition and its base does not: only noise does that."""
        nearer = trial.distance < FOUND_AGAIN * base.distance
        return nearer and (self.trials.composition(base), self.trials.composition(trial)) == (
            "different",
            "same",
        )
