"""Settings that imitate each other: schedules in the place of one, a static shift, flat numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from harness.diagnosis.estimates import Estimate
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.flat_lines import on_few_flat_lines
from harness.diagnosis.imitations import imitations
from harness.diagnosis.lines import Lines
from harness.diagnosis.scans import next_usual
from harness.diagnosis.search import search
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.shortlist import bracketed
from harness.diagnosis.trials import Settings, TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.diagnosis.truths import trials_of

Altered = Callable[..., Case]


def factor(trials: TrialRenderer, name: str) -> Factor:
    return next(each for each in factors(trials, {}) if each.axis.name == name)


def of(progress: Progress, settings: Settings) -> list[Settings]:
    return imitations(progress.trials, progress.reference, progress.trials.trial(settings), 9)


def test_other_axes_are_tried_in_the_place_of_a_schedule(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("imitated", steps=7), renderer), 100, None)
    found = of(progress, {"base_shift": 0.2})
    assert found
    assert all(len(set(each) - {"dynamic_shifting"}) == 1 and "base_shift" not in each for each in found)
    assert "steps" in {name for each in found for name in each}


def test_a_static_shift_goes_with_the_switch_that_it_needs(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("imitated-shift", base_shift=0.2), renderer), 100, None)
    found = of(progress, {"shift": 1.2, "dynamic_shifting": False})
    assert found
    assert not any({"shift", "dynamic_shifting"} & each.keys() for each in found)


def test_a_static_shift_is_narrowed_from_the_models_own(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("own-shift", dynamic_shifting=False), renderer), 100, None)
    shift = factor(progress.trials, "shift")
    lines = Lines(progress)
    progress.run(lines.each(progress.reference, [Estimate(shift, 0.0, 2.0)]))
    progress.run(lines.waiting())
    assert progress.best.settings == {"dynamic_shifting": False}
    assert progress.best.distance == 0
    assert len(progress.trials.made) <= 3


def test_the_values_of_few_numbers_that_change_nothing_come_first(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("flat", guidance_scale=3.4), renderer), 100, None)
    trials, base = progress.trials, progress.trials.trial({"guidance_scale": 3.5})
    trials.trial({"guidance_scale": 3.5, "max_shift": 1.1})
    left = on_few_flat_lines(trials, base)
    assert {"guidance_scale": 3.5, "max_shift": 1.5} in left
    for name, value in (("base_shift", 0.6), ("network_multiplier", 1.1)):
        close = trials.trial({"guidance_scale": 3.5, name: value})
        place = trials.made.index(close)
        trials.made[place] = dataclasses.replace(close, distance=base.distance)
    assert on_few_flat_lines(trials, base) == []


def test_a_number_is_bracketed_by_short_renders(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("bracketed", network_multiplier=0.6), renderer)
    values = bracketed(trials, trials.trial({}), factor(trials, "network_multiplier"))
    assert {0.5, 0.6} <= set(values)
    assert len(trials.short_made) < 6


def test_the_usual_values_next_to_a_numbers_own(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("next", guidance_scale=5.0), renderer)
    guidance = factor(trials, "guidance_scale")
    assert guidance.own == 4.0
    assert next_usual(guidance) == [{"guidance_scale": 3.5}, {"guidance_scale": 4.5}]


def test_a_multiplier_beside_the_usual_ones_is_found_before_anything_on_top_of_it(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    found = search(trials_of(altered("beside", network_multiplier=1.25), renderer), 40)
    assert found.path[-1].settings == {"network_multiplier": 1.25}
