"""Find the settings that bring a preview back, in stages; docs/diagnosis.md states their order and promise.

Every single factor, the likeliest first and numbers narrowed; pairs; what is left of every number's values;
triples. A stage ends the search where the preview is identical, or within the floor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from types import MappingProxyType

from harness.diagnosis.beginning import beginning, pointed_at
from harness.diagnosis.conclusion import Search, concluded
from harness.diagnosis.factors import Factor, factors, is_usual
from harness.diagnosis.groups import NUMBERS
from harness.diagnosis.identity import Identity, rounded_twins
from harness.diagnosis.lines import AGAIN, NEARER, Lines
from harness.diagnosis.narrowing import MAX_ROUNDING
from harness.diagnosis.near import Near, leaders_on_other_kernel
from harness.diagnosis.one_shift import unshifted
from harness.diagnosis.pairs import MAX_ON_ONE, MAX_PAIRS, NO_NEARER, Pairs, bases_of, together
from harness.diagnosis.quantized import twins
from harness.diagnosis.scans import Scans
from harness.diagnosis.search_progress import ALONE, Progress, Render
from harness.diagnosis.singles import IDLE, SHIFTING, Singles, more_steps
from harness.diagnosis.superposed import superposed
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, words

MAX_DEPTH = 3
"""How many factors a cause may have."""
LEADS = 0.85
"""Share of the distance that a trial leaves at most to be followed before what is unlikely."""
MAX_NOISE = 1
"""Other noise that a short render makes likely, and that is a base for pairs however far it ends."""
PLAINER, LITTLE = 0.8, 0.25
"""How much nearer more settings must be than fewer to be followed, and the share of a far picture's distance
that is little."""
CLEARLY = 0.7
"""Share of what the nearer of two settings leaves, that both should leave to come before what is unlikely."""
BESIDE = 1.5
"""How much farther a setting may be than a number that imitates it to be looked around first."""
CLEARLY_NEARER = 0.85
"""Share of what a trial within the floor leaves that another leaves for its neighbours to come first."""
MAX_SIBLINGS = 4
"""Values that an axis has at most to be rendered whole where one of them leaves little."""

Tell = Callable[[str], None]


def search(
    trials: TrialRenderer,
    budget: float,
    tell: Tell = lambda _: None,
    *,
    start: Settings = MappingProxyType({}),
    nearest: Settings = MappingProxyType({}),
    cleared: bool = False,
    tool_floor: float | None = None,
    elsewhere: bool = False,
) -> Search:
    """Search the settings that explain the preview, spending at most ``budget`` renders of the case's own.

    Args:
        tell: called with one line before each stage.
        start: settings that a control found; where they come nearer here, the search goes on from them.
        nearest: what leaves little of a control that nothing explains. Other values of it come first.
        cleared: a control was identical with them, so that only the LoRA is left to explain anything.
        tool_floor: for an image of another tool, what its own kernels make of the distance at least, 0 to
            255: no trial can be identical, and none is sought once one is within it.
        elsewhere: a control showed that another machine rendered the preview: nothing is identical here.

    Raises:
        HarnessError: the case's own settings cannot be rendered here.
    """
    progress = Progress(trials, budget, tool_floor, elsewhere=elsewhere)
    stages = _Stages(progress, tell, cleared=cleared)
    stages.run(start, nearest)
    return concluded(progress, stages.base, cleared=cleared)


class _Stages:
    def __init__(self, progress: Progress, tell: Tell, *, cleared: bool) -> None:
        self.progress, self.trials, self.tell, self.cleared = progress, progress.trials, tell, cleared
        self.lines = Lines(progress)
        self.scans = Scans(self.lines)
        self.base = progress.reference
        self._looked_around: list[Settings] = []

    def run(self, start: Settings, nearest: Settings) -> None:
        """Run the stages until one explains the preview or the budget is spent, then look for identity."""
        progress = self.progress
        self.base = beginning(progress, start, cleared=self.cleared)
        if math.isinf(self.base.distance):
            return
        self.singles = Singles(progress, self.lines, self.base, cleared=self.cleared)
        self.likely, self.unlikely = self.singles.likely(), self.singles.unlikely()
        if not progress.is_covered:
            pointed = pointed_at(self.base, start, nearest)
            of_control = (partial(self._singles, self.singles.of_control(pointed)),) if pointed else ()
            stages: tuple[Callable[[], bool], ...] = (
                *of_control, partial(self._singles, self.likely), self._close,
                partial(self._singles, self.singles.other_noise()),
                partial(self._singles, self.singles.typed_seeds()),
                partial(self._singles, self.singles.every_guidance()),
                partial(self._singles, self.singles.likely_quantizers()),
                partial(self._pairs, LEADS), self._added, partial(self._singles, self.unlikely),
                self._added, self._pairs, partial(self._singles, self.singles.rest_of_noise()),
                self._quantizers, self._leftovers, self._more,
            )  # fmt: skip
            any(stage() for stage in stages)
        if progress.is_covered and not progress.is_settled:
            self._identical()
        if progress.best.distance == 0:
            twins(self.trials, progress.best)
            for settings in rounded_twins(self.trials, self.base.settings, progress.best):
                self.trials.attempt(settings)

    def _identical(self) -> None:
        """Look for an identical render around what is within the floor, then what is clearly nearer."""
        progress = self.progress
        self.tell("what is identical")
        anchor = self.base if progress.floor.covers(self.base) else progress.followed
        while not progress.is_settled:
            identity, limit = self._around(anchor), CLEARLY_NEARER * anchor.distance
            rest = itertools.chain(self.likely, self.unlikely)
            renders = identity.of_lora() if self.cleared else itertools.chain(identity.renders(), rest)
            progress.confirm(renders, until=lambda limit=limit: progress.followed.distance < limit)  # type: ignore[misc]
            if progress.followed.distance >= limit:
                return
            anchor = progress.followed

    def _singles(self, renders: Iterator[Render]) -> bool:
        """Render single factors; where one leaves little, go on from it first."""
        self.tell("single factors")
        if self.progress.run(renders, until=lambda: self.progress.stands_alone(self.base)):
            return True
        if self.progress.stands_alone(self.base):
            if self.progress.followed.distance > ALONE * self.base.distance:
                self.progress.run(self.scans.scan_shortly(self.base, self.singles.content_numbers()))
                self.progress.run(self.singles.likely_quantizers())
            best = self.progress.followed
            if (
                self.progress.run(self.lines.finish(best.settings.keys()))
                or self.progress.run(self.lines.beside(best))
                or self.progress.run(self._siblings(best))
                or self.progress.run(self._like_schedules(best))
                or self.progress.run(self._around(best).instead())
                or self.progress.run(self._leaders_on_other_kernel())
                or (best.distance < BESIDE * self.progress.followed.distance and self._close(best))
                or self._close()
                or self._on_top_of([self._leader()])
            ):
                return True
        return self.progress.run(renders)

    def _leader(self) -> Trial:
        """Return the nearest trial, or one about as near with fewer settings."""
        limit = self.progress.followed.distance / PLAINER
        near = [each for each in self.trials.made if each.distance <= limit and not each.measures_floor]
        leader = min(near, key=lambda each: (len(each.settings), each.distance))
        plain = unshifted(leader.settings)
        return next((each for each in near if each.settings == plain), leader)

    def _around(self, anchor: Trial) -> Identity:
        return Identity(self.progress, self.lines, self.base, anchor)

    def _close(self, anchor: Trial | None = None) -> bool:
        """Render what lies near a trial, else the nearest one, once, where little is missing."""
        anchor = anchor or self._leader()
        is_idle = anchor is not self.base and anchor.distance > IDLE * self.base.distance
        is_far = anchor.distance > max(MAX_ROUNDING, LITTLE * self.base.distance)
        if is_idle or is_far or anchor.settings in self._looked_around:
            return self.progress.is_settled or self.progress.is_covered
        self.tell(f"what is near {words(anchor.settings)}")
        self._looked_around.append(anchor.settings)
        return self.progress.run(Near(self.progress, self.lines, self.base, anchor).renders())

    def _pairs(self, share: float | None = None) -> bool:
        """Render pairs on top of likely noise and of the nearest trials, which leave at most ``share``."""
        if share is not None and self.progress.followed.distance > share * self.base.distance:
            return False
        noise = self.singles.noise[:MAX_NOISE]
        made = [self.trials.attempt(each.settings(each.values[0])) for each in noise]
        bases = [trial for trial in made if trial is not None]
        drawn = [trial.settings for trial in bases]
        near = bases_of(self.progress, self.base, 1, share or NO_NEARER)
        bases += [each for each in near if each.settings not in drawn]
        renders = together(self.progress, self.lines, self.base, bases)
        return self._nearer(renders, NEARER) or self._on_top_of(bases)

    def _added(self) -> bool:
        """Render pairs of settings that were rendered alone and should leave little together."""
        return self._nearer(self.lines.settings(superposed(self.trials, self.base, CLEARLY)), ALONE)

    def _nearer(self, renders: Iterator[Render], share: float) -> bool:
        """Render until one leaves ``share`` of what is missing, then go on from the nearest."""
        nearest = self.progress.followed.distance
        if self.progress.run(renders, until=lambda: self.progress.followed.distance < share * nearest):
            return True
        best = self.progress.followed
        if best.distance < AGAIN * nearest:
            self.lines.narrow_again(best)
            return self._close() or self._on_top_of([self._leader()])
        return False

    def _quantizers(self) -> bool:
        """Render every other quantizer where nothing came near."""
        return self.progress.run(self.singles.quantizers())

    def _more(self) -> bool:
        """Render pairs once more, on top of what the leftovers found, and triples."""
        depths = range(1, MAX_DEPTH)
        return any(self._on_top_of(bases_of(self.progress, self.base, count)) for count in depths)

    def _siblings(self, trial: Trial) -> Iterator[Render]:
        """Yield the other values of the axis that ``trial`` changes, where it is no number.

        A LoRA that is off is one with a multiplier of 0: where it leaves little, one between is likely.
        """
        if trial.settings.get("lora_mode") == "none" != self.base.settings.get("lora_mode"):
            scale = factors(self.trials, self.base.settings, lambda axis: axis.name == "network_multiplier")
            values = [each.settings(value) for each in scale for value in each.values]
            yield from self.scans.shortly(self.base, values)
            nearer = "network_multiplier" in self.progress.followed.settings
            yield from self.scans.scan_shortly(self.base, scale if nearer else [])
        every = factors(self.trials, self.base.settings, lambda axis: axis.name in trial.settings)
        found = [each for each in every if each.own is None and is_usual(each)]
        yield from self.lines.values(found if len(found) <= MAX_SIBLINGS else [])

    def _like_schedules(self, trial: Trial) -> Iterator[Render]:
        """Yield the first values of steps and shifts where ``trial`` changes one: they imitate each other."""
        changed = trial.settings.keys() - self.base.settings.keys()
        if changed & SHIFTING:
            every = factors(self.trials, self.base.settings, lambda axis: axis.name in SHIFTING - changed)
            yield from self.lines.settings([] if "steps" in changed else more_steps(self.trials, self.base))
            yield from self.lines.each(self.base, self.lines.ranked(self.base, every))
            yield from self.lines.finish(SHIFTING)

    def _leaders_on_other_kernel(self) -> Iterator[Render]:
        yield from self.lines.settings(leaders_on_other_kernel(self.trials, self._leader()))

    def _on_top_of(self, bases: list[Trial], depth: int = 1) -> bool:
        """Render further factors on top of the bases; return whether the preview is explained.

        Where one leaves little, the next is sought on top of it at once, then what is left on the bases.
        """
        if not bases or depth > MAX_DEPTH:
            return self.progress.is_settled
        self.tell(f"on top of {'; '.join(words(each.settings) for each in bases)}")
        nearest = min(bases, key=lambda each: each.distance)
        most = MAX_PAIRS if len(bases) > 1 or depth > 1 else MAX_ON_ONE
        pairs = itertools.islice(Pairs(self.progress, self.lines, bases).renders(), most)
        if self.progress.run(pairs, until=lambda: self.progress.stands_alone(nearest)):
            return True
        if self.progress.stands_alone(nearest):
            best = self.progress.followed
            if (
                self.progress.run(self._around(best).instead())
                or self._close()
                or self._on_top_of([self.progress.followed], depth + 1)
            ):
                return True
        return self.progress.run(pairs)

    def _leftovers(self) -> bool:
        """Render every value that is left of every factor; return whether the preview is explained."""
        self.tell("what is left of every factor")
        every = sorted(filter(is_usual, factors(self.trials, self.base.settings)), key=self._order)
        return self.progress.run(self.scans.scan(self.base, every))

    def _order(self, factor: Factor) -> int:
        """Return when a factor's other values come; where little is missing, schedules first, noise last."""
        if self.base.distance < MAX_ROUNDING:
            return 0 if factor.is_schedule else 2 if factor.is_noise else 1
        return NUMBERS.index(factor.axis.name) if factor.axis.name in NUMBERS else len(NUMBERS)
