"""What may be identical where a trial is within the floor: other rounding, near numbers, near schedules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from harness.diagnosis.factors import LORA_AXES, factors
from harness.diagnosis.flat_lines import ENDED, on_few_flat_lines, on_flat_lines
from harness.diagnosis.floor import MAX_FLOOR, MIN_FLOOR
from harness.diagnosis.imitations import imitations
from harness.diagnosis.lines import Lines
from harness.diagnosis.near import (
    MAX_BESIDE,
    Near,
    beside_on_other_kernel,
    without,
    without_each,
)
from harness.diagnosis.one_shift import SHIFTS, ShiftLine
from harness.diagnosis.prices import is_dear
from harness.diagnosis.projected import projected
from harness.diagnosis.quantized import requantized
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.singles import SHIFTING
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, rms
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Grid
from harness.sweeps.axis_values import Value

ROUNDING = ("t5_attention", "lora_mode", "attention", "dtype")
"""The likeliest first, and what loads the base anew last."""
CHANCE = ROUNDING[1:]
"""Rounding of which no table says that previews have it."""
MAX_NEAR, MAX_INSTEAD, MAX_KERNELS, MAX_ALIKE = 20, 5, 4, 2
"""What is rendered of near schedules, of those in the place of one that the anchor has, and of the nearest
numbers and of those schedules with other kernels."""
ALSO_NEAR = 1.5
"""How many times as far as the anchor another number may be for its neighbours to be tried too."""
FIRST_BESIDE = 4
"""Numbers beside the anchor's that are rendered before those about as near are, with T5's other kernel."""
MAX_FIRST = 6
"""Near schedules that are rendered before what is left of a number that changes next to nothing."""
BY_ROUNDING = 2.0
"""How many times as far as the anchor a render without one of its factors is, where that may be rounding."""
MAX_IMITATIONS = 9
"""Schedules that make about the anchor's change and are rendered before other rounding."""
FIRST_SHIFTS, MAX_SHIFTS = 5, 12
"""Usual shifts alone, where the recorded settings leave about what the anchor leaves: early, and in all."""
MAX_WANTED = 12
"""How many schedules make about the change of another; those that were rendered already count."""


class Identity:
    """Looks for an identical render around ``anchor``, which is within the floor."""

    def __init__(self, progress: Progress, lines: Lines, base: Trial, anchor: Trial) -> None:
        self._progress, self._lines, self._base, self._anchor = progress, lines, base, anchor

    def renders(self) -> Iterator[Render]:
        """Yield the renders, the likeliest first."""
        plain, lines = self._plain(), self._lines
        rounded, beside = self._rounded(plain.settings), self._beside(plain.settings)
        is_exact = self._anchor.rendered.dtype == "fp32"  # kernels change next to nothing there
        stays = [each for each in rounded if each.get("dtype") == self._anchor.settings.get("dtype")]
        is_here = not self._progress.elsewhere  # what another machine rendered is not identical here
        alike = self._alternatives(MAX_IMITATIONS)
        yield from lines.settings(self._other_dtypes())
        yield from lines.settings(beside[:2] if len(self._numbers(plain.settings)) == 1 else [])
        yield from lines.settings(self._dtypes_alone() if is_here else [])
        is_cpu = self._progress.trials.context.device == "cpu"  # on a GPU other rounding is as likely
        yield from lines.settings(self._usual_shifts(plain)[:FIRST_SHIFTS] if is_here and is_cpu else [])
        yield from lines.settings(itertools.chain(self._on_few_flat_lines(), alike) if is_here else [])
        yield from lines.settings(beside if is_exact else stays)
        yield from lines.settings(stays if is_exact else beside[:FIRST_BESIDE])
        yield from lines.settings(beside_on_other_kernel(self._progress.trials, plain))
        yield from lines.settings(beside)
        yield from lines.settings(self._one_of_each() if is_here else [])
        yield from self._flat(plain)
        yield from lines.settings(self._beside_steps(plain) if is_here else [])
        yield from lines.settings(self._usual_shifts(plain) if is_here else [])
        yield from projected(self._progress, lines, plain)
        yield from projected(self._progress, lines, self._base)
        yield from lines.settings(each for each in rounded if each not in stays)
        yield from lines.settings(self._rounded_with_less())
        yield from requantized(self._progress.trials, lines, self._base, self._anchor)
        yield from lines.settings(alike)
        yield from self._singles()
        yield from lines.settings(self._rounded_otherwise(self._nearest(beside)[:MAX_KERNELS]))
        for name, value in self._anchor.settings.items():
            if _is_rounding(name, value) and name not in self._base.settings:
                yield from lines.settings(self._rounded(without(self._anchor.settings, name)))
        yield from lines.settings(self._rounded_otherwise(self._nearest(alike)[:MAX_ALIKE]))
        near = Near(self._progress, lines, self._base, plain)
        schedules = near.schedules(MAX_NEAR)
        yield from lines.settings(itertools.islice(schedules, MAX_FIRST))
        yield from self._flat(plain)
        yield from lines.settings(schedules)
        yield from lines.each(plain, near.numbers())
        yield from lines.settings(self._rounded(self._anchor.settings))
        yield from lines.settings(self._rounded(self._anchor.settings, dear=True))

    def _one_of_each(self) -> Iterator[Settings]:
        """Yield a schedule of each axis that is estimated close, alone: one wrong setting is likelier."""
        base = self._base
        if base.distance < ALSO_NEAR * self._anchor.distance:
            close = Near(self._progress, self._lines, base, base).schedules(MAX_NEAR)
            yield from itertools.islice(close, MAX_FIRST)

    def _flat(self, plain: Trial) -> Iterator[Render]:
        """Yield what is left on flat lines, then the numbers beside those of the nearest trial."""
        yield from self._lines.settings(self._on_flat_lines(plain))
        nearest_now = self._progress.followed
        if nearest_now is not self._anchor:
            yield from self._lines.settings(self._beside(nearest_now.settings)[:FIRST_BESIDE])

    def _on_few_flat_lines(self) -> Iterator[Settings]:
        """Yield what is left of flat numbers on top of what is about as near with a setting less."""
        trials, limit = self._progress.trials, ALSO_NEAR * self._anchor.distance
        less = without_each(self._anchor.settings, self._base.settings)
        for settings in [each for each in less if trials.is_made(each)]:
            trial = trials.attempt(settings)
            if trial is not None and trial.distance < limit:
                yield from on_few_flat_lines(trials, trial)

    def _on_flat_lines(self, plain: Trial) -> list[Settings]:
        bases = without_each(plain.settings, self._base.settings)
        return on_flat_lines(self._progress.trials, bases, plain)

    def _rounded_with_less(self) -> list[Settings]:
        """Return other rounding in the place of the anchor's factor of least effect, where it has several."""
        anchor, kept = self._anchor, self._base.settings
        new = [name for name in anchor.settings if name not in kept and name != "dynamic_shifting"]
        less = [without(anchor.settings, name) for name in new] if len(new) > 1 else []
        near = [each for each in self._nearest(less) if self._distance(each) < BY_ROUNDING * anchor.distance]
        return [rounded for settings in near[:1] for rounded in self._rounded(settings)]

    def _singles(self) -> Iterator[Render]:
        """Yield other steps and shifts alone, where the anchor changes one: first values, and what is near.

        They imitate each other, and two together are less likely than another one alone.
        """
        base, trials, lines = self._base.settings, self._progress.trials, self._lines
        changed = self._anchor.settings.keys() - base.keys()
        if not changed & SHIFTING:
            return
        found = factors(trials, base, lambda axis: axis.name in SHIFTING - changed)
        yield from lines.values(found)
        names = {each.axis.name for each in found if each.own is not None}
        close = [
            each
            for each in trials.made
            if len(each.settings) == len(base) + 1
            and names & each.settings.keys()
            and each.distance < ALSO_NEAR * self._anchor.distance
        ]
        for trial in sorted(close, key=lambda each: each.distance)[:MAX_ALIKE]:
            yield from lines.settings(self._beside(trial.settings)[: 2 * MAX_ALIKE])

    def instead(self) -> Iterator[Render]:
        """Yield schedules in the place of one of the anchor's that make about the change that it makes."""
        made = self._progress.trials.is_made
        found = [each for each in self._alternatives(MAX_WANTED) if not made(each)]
        yield from self._lines.settings(found[:MAX_INSTEAD])

    def _alternatives(self, count: int = MAX_INSTEAD) -> list[Settings]:
        return imitations(self._progress.trials, self._base, self._anchor, count)

    def _plain(self) -> Trial:
        """Return the anchor without other rounding: where nothing is identical, it came nearest by chance."""
        anchor, kept = self._anchor, self._base.settings
        settings = {
            name: value
            for name, value in anchor.settings.items()
            if name in kept or name not in CHANCE or not _is_rounding(name, value)
        }
        return self._progress.trials.attempt(settings) or anchor

    def _beside(self, settings: Settings) -> list[Settings]:
        """Return ``settings`` with each number of theirs moved on its grid, the smallest moves first."""
        grids = self._numbers(settings)
        return [
            {**settings, name: grid.snap(float(settings[name]) + sign * count * grid.step)}
            for count in range(1, MAX_BESIDE + 1)
            for name, grid in grids.items()
            for sign in (1, -1)
        ]

    def _numbers(self, settings: Settings) -> dict[str, Grid]:
        """Return the grids of the numbers that ``settings`` change."""
        grids = {name: AXES[name].grid for name in settings if name not in self._base.settings}
        return {name: grid for name, grid in grids.items() if grid is not None}

    def _other_dtypes(self) -> list[Settings]:
        """Return other dtypes in the place of the anchor's, where they cost no more than a render."""
        trials, base = self._progress.trials, self._base.settings
        if "dtype" in base or "dtype" not in self._anchor.settings or trials.context.device == "cuda":
            return []
        found = factors(trials, without(self._anchor.settings, "dtype"), lambda axis: axis.name == "dtype")
        return [each.settings(each.values[0]) for each in found]

    def _dtypes_alone(self) -> list[Settings]:
        """Return the other dtypes alone, where a trial costs no more than a render."""
        base, trials = self._base, self._progress.trials
        if base.distance >= ALSO_NEAR * self._anchor.distance or trials.context.device == "cuda":
            return []
        found = factors(trials, base.settings, lambda axis: axis.name == "dtype")
        return [each.settings(each.values[0]) for each in found]

    def _beside_steps(self, plain: Trial) -> list[Settings]:
        """Return numbers of steps beside the recorded one, alone, up to those that were rendered and are far.

        People type any number of steps, and few of a shift.
        """
        base, own, far = self._base, self._base.request.sample_steps, ALSO_NEAR * plain.distance
        if base.distance > far or "steps" in base.settings:
            return []
        made, axes = self._progress.trials.made, {"steps", *base.settings}
        line = [each for each in made if each.settings.keys() == axes]
        ends = [each.request.sample_steps for each in line if each.distance > far]
        low = max((each for each in ends if each < own), default=0)
        high = min((each for each in ends if each > own), default=math.inf)
        beside = [own + sign * count for count in range(1, MAX_BESIDE + 1) for sign in (1, -1)]
        return [{**base.settings, "steps": count} for count in beside if low < count < high]

    def _usual_shifts(self, plain: Trial) -> list[Settings]:
        """Return the usual shifts alone, up to those that were rendered and are far."""
        base, far = self._base, ENDED * plain.distance
        if base.distance > far or not base.settings.keys().isdisjoint(SHIFTS):
            return []
        return ShiftLine(self._progress.trials, base).usual_within(far)[:MAX_SHIFTS]

    def of_lora(self) -> Iterator[Render]:
        """Yield other ways of applying the LoRA, checkpoints and multipliers: a control cleared the rest."""
        anchor, lines = self._anchor, self._lines
        found = factors(self._progress.trials, anchor.settings, lambda axis: axis.name in LORA_AXES)
        ways = [each for each in found if each.is_numeric]
        on_gpu = self._progress.trials.context.device == "cuda"  # there 340 modules of full size take 15 s
        yield from lines.values([] if on_gpu else ways)
        yield from lines.values(each for each in found if each.axis.name == "checkpoint")
        scale = [each for each in found if each.axis.name == "network_multiplier"]
        yield from lines.each(anchor, lines.ranked(anchor, scale))
        yield from lines.waiting()
        made = [each for each in self._progress.trials.made if "network_multiplier" in each.settings]
        if any(each.distance <= MAX_FLOOR for each in made):
            yield from lines.settings(each.settings(value) for each in scale for value in each.values)
        yield from lines.values(ways)

    def _rounded(self, settings: Settings, *, dear: bool = False) -> list[Settings]:
        """Return other rounding on top of ``settings``, T5's kernel first; either the dear or the rest."""
        trials = self._progress.trials
        found = factors(trials, settings, lambda axis: axis.name in ROUNDING)
        found = [each for each in found if is_dear(each, trials.context.device) == dear]
        found.sort(key=lambda each: ROUNDING.index(each.axis.name))
        return [each.settings(each.values[0]) for each in found if each.values[0] != "none"]

    def _rounded_otherwise(self, found: list[Settings]) -> list[Settings]:
        """Return ``found`` with other kernels of T5 and of the transformer, where these change anything."""
        every = [(settings, self._rounded(settings)) for settings in found]
        return [
            each
            for name in ("t5_attention", "attention")
            if self._changes(name)
            for settings, rounded in every
            for each in rounded
            if name in each.keys() - settings.keys()
        ]

    def _changes(self, name: str) -> bool:
        """Whether another kernel changes the anchor's picture; in fp32 it may not."""
        found = [each for each in self._rounded(self._anchor.settings) if name in each]
        made = [self._progress.trials.attempt(each) for each in found]
        image = self._anchor.image
        return any(each is not None and rms(each.image, image) >= MIN_FLOOR for each in made)

    def _nearest(self, found: list[Settings]) -> list[Settings]:
        """Return rendered settings, the nearest to the preview first."""
        return sorted(found, key=self._distance)

    def _distance(self, settings: Settings) -> float:
        trial = self._progress.trials.attempt(settings)
        return math.inf if trial is None else trial.distance


def rounded_twins(trials: TrialRenderer, base: Settings, best: Trial) -> list[Settings]:
    """Return other rounding in the place of what ``best`` has, which may be identical too."""
    new = [name for name in best.settings if name not in base and _is_rounding(name, best.settings[name])]
    found: list[Settings] = []
    for rest in [without(best.settings, name) for name in new]:
        others = factors(trials, rest, lambda axis: axis.name in ROUNDING and axis.name not in best.settings)
        cheap = [each for each in others if each.is_numeric and not is_dear(each, trials.context.device)]
        found += [each.settings(each.values[0]) for each in cheap]
    return found


def same_but_rounding(one: Settings, other: Settings) -> bool:
    """Whether two settings differ in what only rounds otherwise, as many in each."""
    plain = [{name: value for name, value in each.items() if name not in ROUNDING} for each in (one, other)]
    return plain[0] == plain[1] and len(one) == len(other) and one != other


def _is_rounding(name: str, value: Value) -> bool:
    """Whether a setting only rounds otherwise; a LoRA that is off does more."""
    return name in ROUNDING and value != "none"
