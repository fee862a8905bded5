"""Find the settings that bring the preview back: cheap ranking, whole renders of the likeliest, greedily.

Cheap ranking: a variant's render is stopped after two steps, and what it changes there is added to the case's
own finished render. The sum estimates the variant's finished image without the error that every early stop
makes. docs/diagnosis.md says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from harness.diagnosis.bench import Bench, Settings, Trial, rms
from harness.errors import HarnessError
from harness.renderer import RenderRequest
from harness.variants.axes import ATTENTION, AXES
from harness.variants.axis import Axis, Family
from harness.variants.values import Value

FIRST_PATIENCE, PATIENCE = 3, 6
"""Whole renders in a row that may fail to improve, before schedules are tried and after."""
STANDS_OUT = 0.25
"""Share of the distance that may be left where a round ends early: the factor stands out."""
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
        singles: every whole render of one changed factor, best first.
        explained: the last trial is identical to the preview, or within the floor.
    """

    reference: Trial
    floor: float
    path: list[Trial] = field(default_factory=list)
    singles: list[Trial] = field(default_factory=list)
    explained: bool = False


def search(bench: Bench, budget: float, tell: Tell = lambda _: None) -> Search:
    """Search the settings that explain the preview, spending at most ``budget`` renders of the case's own.

    Args:
        tell: called with one line before each round.
    """
    reference = bench.trial({})
    kernel = bench.trial({"attention": ATTENTION[bench.context.device][1]})
    floor = FLOOR_FACTOR * rms(bench.matched(reference.image), bench.matched(kernel.image))
    found = Search(reference, floor)
    if 0 in {reference.distance, kernel.distance}:
        found.explained = True
        found.path = [kernel] if reference.distance else []
        return found
    rounds = _Rounds(bench, found, budget)
    tell("ranking single factors")
    first = rounds.extend(reference)
    found.singles = sorted(first, key=lambda trial: trial.distance)
    best = [trial for trial in found.singles if trial.distance < reference.distance][:BEAM]
    if not rounds.done(best) and _is_other_picture(bench, [reference, *best]):
        tell("ranking pairs of noise settings")
        best = sorted([*best, *rounds.noise_pairs(reference)], key=lambda trial: trial.distance)[:BEAM]
    for _ in range(ROUNDS - 1):
        if rounds.done(best) or not best:
            break
        tell(f"adding to {', '.join(str(dict(trial.settings)) for trial in best)}")
        grown: list[Trial] = []
        for base in best:
            if not rounds.done(grown):
                grown += rounds.extend(base)
        better = [trial for trial in grown if trial.distance < (1 - MIN_GAIN) * best[0].distance]
        if not better:
            break
        best = sorted([*best, *better], key=lambda trial: trial.distance)[:BEAM]
    if best and rounds.enough(best[0]):
        best = [rounds.polish(best[0])]
    if best and rounds.helps(best[0]):
        found.path = rounds.path(best[0])
        found.explained = rounds.enough(found.path[-1]) or found.path[-1].distance == 0
    else:
        found.explained = reference.distance <= found.floor
    return found


def _is_other_picture(bench: Bench, trials: list[Trial]) -> bool:
    return all(bench.composition(trial) == "different" for trial in trials)


@dataclass
class _Rounds:
    bench: Bench
    found: Search
    budget: float

    def extend(self, base: Trial) -> list[Trial]:
        """Return whole renders of ``base`` with one more factor, until one suffices.

        First the likeliest by the cheap ranking; on top of another factor, numerics, whose small effects no
        ranking sees; then schedules, which show only at the end of a render; then the rest of the ranking.
        """
        changes = [{axis.name: value} for axis, value in self._values() if not _is_schedule(axis)]
        ranked = self._ranked(base, self._options(base, changes))
        trials = self._run(base, ranked, FIRST_PATIENCE)
        if self._settled(base, trials):
            return trials
        if base.settings:
            trials += self._run(base, self._numerics(base), ROUNDS * PATIENCE)
            if self._settled(base, trials):
                return trials
        trials += self._schedules(base)
        if self._settled(base, trials):
            return trials
        left = [settings for settings in ranked if settings not in [trial.settings for trial in trials]]
        return trials + self._run(base, left, PATIENCE)

    def _settled(self, base: Trial, trials: list[Trial]) -> bool:
        """Whether a round can end: enough, or one factor clearly stands out."""
        return self.done(trials) or any(trial.distance < STANDS_OUT * base.distance for trial in trials)

    def _schedules(self, base: Trial) -> list[Trial]:
        """Return whole renders of other schedules: numbers are climbed, names are tried one by one."""
        trials: list[Trial] = []
        for axis in AXES.values():
            if not _is_schedule(axis) or self.done(trials):
                continue
            values = [value for each, value in self._values() if each is axis]
            if values and isinstance(values[0], str | bool):
                trials += self._run(base, self._options(base, [{axis.name: v} for v in values]), len(values))
            else:
                trials += self._climb(base, axis, values)
        return trials

    def _climb(self, base: Trial, axis: Axis, values: list[Value]) -> list[Trial]:
        """Return whole renders along ordered values, on the nearer side, till two in a row are no nearer."""
        own = axis.read(self.bench.context, base.request)
        ordered = sorted(values, key=float)
        above = [value for value in ordered if float(value) > float(own)]
        below = [value for value in reversed(ordered) if float(value) < float(own)]
        sides = [self._options(base, [{axis.name: value} for value in side]) for side in (below, above)]
        first = [(self.bench.trial(side[0]), side[1:]) for side in sides if side]
        if not first:
            return []
        trials = [trial for trial, _ in first]
        nearest, rest = min(first, key=lambda pair: pair[0].distance)
        best, worse = nearest.distance, 0
        for settings in rest if best < base.distance else []:
            if worse > 1 or self.done(trials):
                break
            trials.append(self.bench.trial(settings))
            worse = worse + 1 if trials[-1].distance >= best else 0
            best = min(best, trials[-1].distance)
        return trials

    def noise_pairs(self, base: Trial) -> list[Trial]:
        """Return whole renders of the likeliest pairs of noise settings."""
        noise = [(axis.name, value) for axis, value in self._values() if axis.family is Family.NOISE]
        pairs = [{a: x, b: y} for a, x in noise for b, y in noise if a < b]
        return self._run(base, self._ranked(base, self._options(base, pairs)), BEAM + 1)

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
        changes = [{axis.name: value} for axis, value in self._values() if axis.family is Family.NUMERICS]
        return self._options(base, changes)

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

    def _values(self) -> list[tuple[Axis, Value]]:
        context = self.bench.context
        return [
            (axis, value)
            for axis in AXES.values()
            for value in axis.candidates(context)
            if axis.problem(context, value) is None
        ]

    def _options(self, base: Trial, changes: list[dict[str, Value]]) -> list[Settings]:
        """Return ``base`` with each change that renders something new."""
        seen = {self.bench.effective(base.settings), self.bench.effective({})}
        options: list[Settings] = []
        for change in changes:
            settings = {**base.settings, **change}
            try:
                key = self.bench.effective(settings)
            except HarnessError:
                continue  # the values exclude each other, or make no schedule
            if key not in seen:
                seen.add(key)
                options.append(settings)
        return options

    def _run(self, base: Trial, options: list[Settings], patience: int) -> list[Trial]:
        trials: list[Trial] = []
        best, idle = base.distance, 0
        for settings in options:
            trial = self.bench.trial(settings)
            trials.append(trial)
            idle = 0 if trial.distance < best else idle + 1
            best = min(best, trial.distance)
            if self.done([trial]) or idle >= patience:
                break
            if self._is_found_again(base, trial):
                break
        return trials

    def _is_found_again(self, base: Trial, trial: Trial) -> bool:
        """Whether a trial shows the preview's composition and its base does not: only noise does that."""
        return self.bench.composition(base) == "different" and self.bench.composition(trial) == "same"

    def _ranked(self, base: Trial, options: list[Settings]) -> list[Settings]:
        """Order options by the distance of their estimated images, sharing weights where it can."""
        if len(options) < 3:
            return options
        early = self._early_trial(base.settings)
        estimates: dict[int, float] = {}
        order = sorted(range(len(options)), key=lambda place: self._weights(options[place]))
        for place in order:
            if self.bench.spent >= self.budget:
                break
            trial = self._early_trial(options[place])
            estimates[place] = self._estimate(base, early, trial)
        return [options[place] for place in sorted(estimates, key=lambda place: estimates[place])]

    def _weights(self, settings: Settings) -> tuple[str, ...]:
        return self.bench.request(settings).weights_key

    def _early_trial(self, settings: Settings) -> Trial:
        return self.bench.trial(settings, stop_after=_few(self.bench.request(settings)))

    def _estimate(self, base: Trial, early: Trial, trial: Trial) -> float:
        if trial.image.shape != base.image.shape:
            return trial.distance
        if base.distance == math.inf:
            return trial.distance
        change = trial.image.astype(np.int16) - early.image.astype(np.int16)
        return self.bench.distance(np.clip(base.image + change, 0, 255).astype(np.uint8))


def _is_schedule(axis: Axis) -> bool:
    return axis.family is Family.SCHEDULE or axis.name == "steps"


def _few(request: RenderRequest) -> int:
    """Return after how many steps a render is stopped to rank it: two, or an eighth of all."""
    return max(2, request.sample_steps // 8)
