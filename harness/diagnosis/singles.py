"""The order of the single factors: what points to the preview, other noise, then by the distance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from harness.diagnosis.estimates import Estimate
from harness.diagnosis.factors import LORA_AXES, Factor, by_kind, draw_noise, factors, is_usual
from harness.diagnosis.flat_lines import on_few_flat_lines
from harness.diagnosis.groups import (
    LIKELY,
    NUMBERS,
    POINTING,
    QUANTIZE_REACH,
    SENSITIVE,
    STRONG,
    by_distance,
    moved_by_kernel,
    unshifted_first,
)
from harness.diagnosis.lines import Lines
from harness.diagnosis.narrowing import MAX_ROUNDING
from harness.diagnosis.one_shift import SHIFTS
from harness.diagnosis.other_noise import MAX_WHOLE, OtherNoise, gains, is_first
from harness.diagnosis.prices import split
from harness.diagnosis.projected import projected
from harness.diagnosis.quantized import LEFT, Quantized, recorded
from harness.diagnosis.scans import Scans
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.pipeline.schedulers import find_scheduler

NOISE_FROM = 18.0
"""Distance from which other noise is likely, though the composition may be the same."""
DRAWN_FROM = 40.0
"""Distance from which a scheduler that draws noise in every step is likely: it draws another picture."""
MAX_POINTED = 2
"""Schedulers to render whole before short renders of all."""
TURNS = 2
"""Further values of each number that come before schedulers where little is missing."""
IDLE, UNCLEAR = 0.85, 0.7
"""Shares of the distance that every first value leaves where no number is the cause, and where one may be."""
COARSE = frozenset({"uint2", "uint3", "uint4", "nvfp4"})
"""Quantizers of few bits: a short render shows what they change."""
SHIFTING = frozenset({"steps", *SHIFTS})
"""Axes that move or stretch the same schedule, and imitate each other."""


class Singles:
    """Every single factor on top of ``base``.

    Args:
        cleared: a control was identical with the base's settings, so that the LoRA is tried first.

    Attributes:
        ranked: estimates of the other factors, best first.
    """

    def __init__(self, progress: Progress, lines: Lines, base: Trial, *, cleared: bool) -> None:
        self._progress, self._lines, self._base, self._cleared = progress, lines, base, cleared
        self._scans, self._noise = Scans(lines), OtherNoise(progress.trials, base, [])
        self.ranked: list[Estimate] = []
        self._groups: list[list[Estimate]] = []
        self._quantized: Quantized | None = None
        self._rare: list[Factor] = []
        self._is_far = False
        self._is_dear = progress.trials.context.device == "cuda"

    @property
    def noise(self) -> list[Factor]:
        """Other noise that short renders make likely, best first."""
        return self._noise.likely

    def likely(self) -> Iterator[Render]:
        """Yield the renders of what an estimate, a short render or the distance makes likely."""
        base, lines, scans, progress = self._base, self._lines, self._scans, self._progress
        every = factors(progress.trials, base.settings)
        if self._cleared:
            yield from lines.each(base, lines.ranked(base, _of_lora(every)))
            yield from lines.waiting()
            every = [each for each in every if each not in _of_lora(every)]
        noise, numeric, rest = by_kind(every)
        quantized, numeric = _quantizers(numeric), [each for each in numeric if is_usual(each)]
        self._rare, known = quantized, recorded(progress.trials, quantized)
        is_control = progress.trials.context.request.lora is None
        if is_control or base.distance < NOISE_FROM:
            yield from lines.values(_kernels(numeric))
            yield from self._rounded(numeric)
        yield from lines.values(known)
        self.ranked = lines.ranked(base, rest)
        far = base.distance > NOISE_FROM or progress.trials.composition(base) == "different"
        strong = STRONG if far else LIKELY
        yield from lines.each(base, self._agreeing(strong))
        yield from lines.values(self._usual_dtype(numeric))
        yield from self._usual_quantizers(numeric)
        self._noise, self._is_far = OtherNoise(progress.trials, base, noise), far
        if far:
            yield from lines.values(self._noise.near(self._era_in_usual_dtype(numeric)))
            yield from lines.values(self._noise.every() if self._noise.is_wrong else [])
        yield from lines.each(base, self._agreeing(LIKELY, strong))
        yield from lines.settings(self._with_likely_noise())
        if base.distance > DRAWN_FROM:
            yield from lines.values(self._noise.drawn)
        if far or base.distance > MAX_ROUNDING:
            yield from self._shortly()
        elif self._is_dear:
            yield from scans.scan_shortly(base, self._numbers(*NUMBERS[:2]))
        self._groups = by_distance(progress.trials, base, self.ranked, numeric)
        if base.distance < MAX_ROUNDING:  # the first values of each number before any is narrowed
            yield from lines.each(base, self._groups.pop(0))
            yield from lines.each(base, self._groups.pop(0))
            yield from lines.turns(TURNS)
            yield from self.likely_quantizers(UNCLEAR)
            yield from lines.each(base, self._groups.pop(0))
            yield from projected(progress, lines, base)
            yield from lines.settings(on_few_flat_lines(progress.trials, base))
            yield from lines.waiting()
        else:
            yield from self._next_group()
            yield from self._next_group()

    def _agreeing(self, least: float, below: float = math.inf) -> list[Estimate]:
        """Return the factors whose estimate is at least ``least``, best first."""
        return unshifted_first([each for each in self.ranked if least <= each.agreement < below], self.ranked)

    def _usual_quantizers(self, numeric: list[Factor]) -> Iterator[Render]:
        """Yield the usual quantizers that an estimate makes likely, where it is cheap."""
        if not self._is_dear and self._base.distance < QUANTIZE_REACH and self._progress.trials.can_follow:
            ranked = self._lines.ranked(self._base, _quantizers(numeric))
            yield from self._lines.each(self._base, [each for each in ranked if each.agreement >= LIKELY])

    def _rounded(self, numeric: list[Factor]) -> Iterator[Render]:
        """Yield other rounding where T5's kernel alone changes about what is missing, and that is much."""
        trials, base = self._progress.trials, self._base
        if base.distance > MAX_ROUNDING and moved_by_kernel(trials, base) > SENSITIVE:
            stays, loads = split(each for each in numeric if each.axis.name != "quantize")
            yield from self._lines.values([*stays, *([] if self._is_dear else loads)])

    def of_control(self, names: frozenset[str]) -> Iterator[Render]:
        """Yield all values of the axes that a control points to, other noise by its short renders."""
        found = factors(self._progress.trials, self._base.settings, lambda axis: axis.name in names)
        drawn = [each for each in found if each.is_noise and is_first(each)]
        ranked = gains(self._progress.trials, self._base, drawn)
        yield from self._lines.values(each for _, each in ranked)
        yield from self._lines.values(each for each in found if each.own is None and each not in drawn)
        yield from self._scans.scan(self._base, [each for each in found if each.own is not None])

    def _shortly(self) -> Iterator[Render]:
        """Yield what stands out among short renders, and steps and shifts, of which these say nothing.

        Guidance and multiplier come first, what an estimate makes likely before the other, then noise.
        """
        base, lines, scans, progress = self._base, self._lines, self._scans, self._progress
        known = [each.factor for each in self.ranked]
        likely = {each.factor.axis.name for each in self.ranked if each.agreement >= LIKELY}
        numbers = self.content_numbers()
        yield from scans.scan_shortly(base, sorted(numbers, key=lambda each: each.axis.name not in likely))
        yield from lines.values(self._noise.every())
        shifting = [each for each in self.ranked if each.factor.axis.name in SHIFTING]
        yield from lines.each(base, unshifted_first(shifting, self.ranked))
        yield from lines.settings(more_steps(progress.trials, base))
        yield from self._imitated()
        solvers = [each for each in known if each.axis.name == "scheduler"]
        yield from lines.values(self._pointed_solvers())
        yield from scans.shortly(base, firsts(each for each in solvers if not _calls_twice(each)))
        yield from scans.nearest_of_all(base, 1)
        yield from self.likely_quantizers()
        if not self._is_dear and base.distance >= QUANTIZE_REACH:
            yield from scans.shortly(base, firsts(each for each in self._rare if each.values[0] in COARSE))
        yield from lines.values(each for each in solvers if _calls_twice(each))
        if self._is_far:  # what draws another picture
            yield from lines.values(self._noise.drawn)
        yield from lines.settings(_beside(self._numbers("network_multiplier")))
        yield from scans.nearest_of_all(base)

    def _with_likely_noise(self) -> list[Settings]:
        """Return the nearest trial with the likeliest other noise too, where it comes nearer without."""
        leader, base = self._progress.followed, self._base
        if draw_noise(leader.settings) or leader.distance > IDLE * base.distance:
            return []
        return [{**each.settings(each.values[0]), **leader.settings} for each in self.noise[:1]]

    def _pointed_solvers(self) -> list[Factor]:
        """Return the schedulers that the recorded trajectory points to the most, of one call in a step."""
        pointing = [each for each in self.ranked if each.agreement >= POINTING]
        solvers = [each.factor for each in pointing if each.factor.axis.name == "scheduler"]
        return [each for each in solvers if not _calls_twice(each)][:MAX_POINTED]

    def _imitated(self) -> Iterator[Render]:
        """Yield what narrows steps and shifts, which imitate each other, where one is nearer."""
        if not self._is_far or self._progress.followed.distance < UNCLEAR * self._base.distance:
            yield from self._lines.finish(SHIFTING)

    def other_noise(self) -> Iterator[Render]:
        """Yield what is left of the noise where other noise leads: a neighbour of the right seed may."""
        changed = set(self._progress.followed.settings) - set(self._base.settings)
        if draw_noise(changed):
            yield from self._lines.values(self._noise.usual())

    def typed_seeds(self) -> Iterator[Render]:
        """Yield the seeds that people type of which short renders look best, where nothing comes near."""
        if self._is_open():
            yield from self._lines.values(self._noise.typed()[:MAX_WHOLE])

    def every_guidance(self) -> Iterator[Render]:
        """Yield every usual guidance where the picture is far and nothing comes near."""
        if self._is_open():
            yield from self._scans.scan(self._base, self._numbers("guidance_scale"))

    def _is_open(self) -> bool:
        """Whether the picture is far and nothing comes near."""
        base = self._base.distance
        return base > NOISE_FROM and self._progress.followed.distance > LEFT * base

    def likely_quantizers(self, left: float = LEFT) -> Iterator[Render]:
        """Yield other quantizers that an estimate makes likely, where it is cheap.

        Nothing is tried where a render left less than the share ``left`` of the distance.

        Two calls tell each of them and each way of applying the LoRA. On a GPU numbers come first: to
        quantize a base of full size takes longer than a render.
        """
        base = self._base.distance
        if not self._is_dear and base < QUANTIZE_REACH and self._progress.followed.distance > left * base:
            yield from self._quantizers(LIKELY)

    def unlikely(self) -> Iterator[Render]:
        """Yield the renders of what nothing points to."""
        if self._is_dear:
            yield from self._scans.scan(self._base, self._numbers(*NUMBERS))
            while len(self._groups) > 1:  # the last one quantizes
                yield from self._next_group()
        yield from self._quantizers(LIKELY)
        while self._groups:
            yield from self._next_group()
        yield from self._quantizers(POINTING)
        yield from self._lines.waiting()
        if self._base.distance > NOISE_FROM:
            yield from self._scans.scan(self._base, self._numbers("guidance_scale"))
        if self._base.distance > NOISE_FROM:
            yield from self._lines.values(self._noise.usual())
        if self._is_open():
            yield from self._lines.values(self._noise.typed())

    def rest_of_noise(self) -> Iterator[Render]:
        """Yield the other noise that was not rendered, where the picture is about the same."""
        if self._base.distance > MAX_ROUNDING:
            yield from self._lines.values(self._noise.usual())

    def quantizers(self) -> Iterator[Render]:
        """Yield every other quantizer where nothing else came near."""
        if self._quantized is not None:
            yield from self._quantized.every()

    def _quantizers(self, least: float) -> Iterator[Render]:
        if self._quantized is None and self._rare and self._progress.trials.can_follow:
            self._quantized = Quantized(self._progress, self._lines, self._base, self._rare)
        if self._quantized is not None:
            yield from self._quantized.pointing(least)

    def content_numbers(self) -> list[Factor]:
        """Return the numbers that act in every step, of which short renders show the effect."""
        return self._numbers("guidance_scale", "network_multiplier")

    def _numbers(self, *names: str) -> list[Factor]:
        known = {each.factor.axis.name: each.factor for each in self.ranked}
        return [known[name] for name in names if name in known]

    def _next_group(self) -> Iterator[Render]:
        yield from self._lines.each(self._base, self._groups.pop(0))
        yield from self._lines.waiting()

    def _usual_dtype(self, numeric: list[Factor]) -> list[Factor]:
        """Return AI Toolkit's usual dtype where the case has another and the preview is not far."""
        return _in_usual_dtype(numeric) if self._base.distance < QUANTIZE_REACH else []

    def _era_in_usual_dtype(self, numeric: list[Factor]) -> list[Factor]:
        """Return the other era of noise in AI Toolkit's usual dtype: in fp32 both eras draw the same."""
        found: list[Factor] = []
        for dtype in _in_usual_dtype(numeric):
            settings = dtype.settings(dtype.values[0])
            found += factors(self._progress.trials, settings, lambda axis: axis.name == "noise")
        return found


def _beside(numbers: list[Factor]) -> list[Settings]:
    """Return each number one step of its grid to either side: a small change may draw another picture."""
    found: list[Settings] = []
    for factor in numbers:
        grid, own = factor.axis.grid, factor.own
        if grid is not None and own is not None:
            found += [factor.settings(grid.snap(own + sign * grid.step)) for sign in (-1, 1)]
    return found


def firsts(found: Iterable[Factor]) -> list[Settings]:
    """Return the settings of the first value of each factor."""
    return [each.settings(each.values[0]) for each in found]


def more_steps(trials: TrialRenderer, base: Trial) -> list[Settings]:
    """Return the usual number of steps that is next to twice the base's, where it is above.

    An estimate follows the recorded trajectory, which shows what fewer steps make of it and not what more do.
    """
    own = base.request.sample_steps
    found = factors(trials, base.settings, lambda axis: axis.name == "steps")
    more = [factor.settings(value) for factor in found for value in factor.values if float(value) > own]
    return sorted(more, key=lambda each: abs(math.log(float(each["steps"]) / (2 * own))))[:1]


def _calls_twice(factor: Factor) -> bool:
    """Whether it calls the model more than once a step, so that few steps show more than others' do."""
    return find_scheduler(str(factor.values[0])).evaluations(2) > 2


def _in_usual_dtype(numeric: list[Factor]) -> list[Factor]:
    return [each for each in numeric if each.axis.name == "dtype" and each.values[0] == "bf16"]


def _kernels(numeric: list[Factor]) -> list[Factor]:
    return [each for each in numeric if each.axis.name == "t5_attention"]


def _quantizers(numeric: list[Factor]) -> list[Factor]:
    return [each for each in numeric if each.axis.name == "quantize"]


def _of_lora(every: list[Factor]) -> list[Factor]:
    return [each for each in every if each.axis.name in LORA_AXES]
