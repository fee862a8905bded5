"""Renders of a quarter of the steps: which settings they single out, and how numbers take turns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.diagnosis.estimates import Estimate
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.floor import Floor
from harness.diagnosis.lines import Lines
from harness.diagnosis.narrowing import changes_more, narrow
from harness.diagnosis.near import Near
from harness.diagnosis.one_shift import SHIFTS
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.shortlist import likeliest, standing_out
from harness.diagnosis.trials import Settings, TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import trials_of

Altered = Callable[..., Case]


def values(trials: TrialRenderer, axis: str) -> list[Settings]:
    every = factors(trials, {}, lambda each: each.name == axis)
    return [each.settings(value) for each in every for value in each.values]


@pytest.mark.parametrize(
    ("axis", "value"),
    [("seed", 44), ("network_multiplier", 0.6), ("guidance_scale", 8.0), ("quantize", "uint2-transformer")],
)
def test_what_a_preview_was_made_with_stands_out(
    altered: Altered, renderer: ReferenceRenderer, axis: str, value: Value
) -> None:
    trials = trials_of(altered(f"short-{axis}", **{axis: value}), renderer)
    others = [each for each in values(trials, axis) if each[axis] != value]
    listed = likeliest(trials, trials.trial({}), [*others, {axis: value}])
    assert {axis: value} in listed
    assert [trial.settings for trial in trials.made] == [{}]


def test_short_renders_rank_the_values_of_a_number(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("ranked", guidance_scale=7.0), renderer)
    values = [1.0, 3.0, 5.0, 7.0, 9.0]
    ranked = likeliest(trials, trials.trial({}), [{"guidance_scale": value} for value in values])
    assert ranked[0] == {"guidance_scale": 7.0}
    assert len(trials.made) == 1
    assert 1 < trials.spent < 1 + len(values)


def test_what_changes_nothing_does_not_stand_out(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("short-none", seed=44), renderer)
    assert standing_out(trials, trials.trial({}), [{"lora_mode": "adapter"}, {"t5_attention": "sdpa"}]) == []


def test_a_short_render_is_made_once_and_counted(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("short-count", seed=44), renderer)
    first, spent = trials.short({"seed": 43}), trials.spent
    assert spent == pytest.approx(3 / 6)
    assert trials.short({"seed": 43}) == first
    assert trials.spent == spent


def test_in_fp32_the_floor_renders_another_kernel_once(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("floors", max_shift=1.4), renderer)
    floor = Floor(trials)
    for value in (1.0, 1.1, 1.2):
        floor.at(trials.trial({"max_shift": value}))
    assert sum("attention" in trial.settings for trial in trials.made) == 1


def rendered_after(progress: Progress, firsts: dict[str, float]) -> list[str]:
    """Return the numbers that were rendered from their first values on, in order."""
    lines = Lines(progress)
    found = [Estimate(_number(progress.trials, name), 0.0, first) for name, first in firsts.items()]
    progress.run(lines.each(progress.reference, found))
    progress.run(lines.waiting())
    made = [trial for trial in progress.trials.made[1:] if not trial.measures_floor]
    return [next(iter(trial.settings)) for trial in made]


def test_numbers_take_turns_where_little_is_missing(altered: Altered, renderer: ReferenceRenderer) -> None:
    progress = Progress(trials_of(altered("turns", base_shift=0.65, dtype="bf16"), renderer), 100, None)
    assert 0.5 < progress.reference.distance < 10
    names = rendered_after(progress, {"guidance_scale": 4.1, "base_shift": 0.55})
    assert set(names[:2]) == set(names[2:4]) == {"base_shift", "guidance_scale"}
    assert set(progress.best.settings) <= set(SHIFTS)
    assert progress.best.distance < 0.7 * progress.reference.distance


def test_a_number_that_goes_straight_to_the_preview_is_narrowed_at_once(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    """It waited its turn: base_shift 0.9 was found after 33 renders, whose second value pointed to it."""
    progress = Progress(trials_of(altered("straight", base_shift=0.8), renderer), 100, None)
    assert 0.5 < progress.reference.distance < 10
    names = rendered_after(progress, {"max_shift": 1.1, "base_shift": 0.6})
    assert progress.best.settings == {"base_shift": 0.8}
    assert progress.best.distance == 0
    assert names.count("max_shift") == 1


def test_a_number_goes_on_twice_as_far(altered: Altered, renderer: ReferenceRenderer) -> None:
    """One step of its grid after the other took eight renders."""
    progress = Progress(trials_of(altered("far", base_shift=0.9), renderer), 100, None)
    made = list(narrow(progress.trials, progress.reference, _number(progress.trials, "base_shift"), 0.6))
    assert made[-1].settings == {"base_shift": 0.9}
    assert len(made) <= 5


def test_a_number_of_which_one_step_changes_more_than_is_missing(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("more", max_shift=1.3), renderer)
    base, factor = trials.trial({}), _number(trials, "network_multiplier")
    assert changes_more(base, trials.trial({"network_multiplier": 0.5}), factor)
    shift = _number(trials, "max_shift")
    assert not changes_more(base, trials.trial({"max_shift": 1.2}), shift)


def test_schedules_with_the_kernel_of_the_case_come_first(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    """With a kernel that had come nearer by chance they came last."""
    progress = Progress(trials_of(altered("kernel", trained_in="bf16", max_shift=1.3), renderer), 100, None)
    other = progress.trials.trial({"t5_attention": "sdpa"})
    assert np.any(other.image != progress.reference.image)
    found = list(Near(progress, Lines(progress), progress.reference, other).schedules(12))
    own = [settings.get("t5_attention", "eager") == "eager" for settings in found]
    assert own == sorted(own, reverse=True)
    assert {True, False} == set(own)


def _number(trials: TrialRenderer, axis: str) -> Factor:
    return next(iter(factors(trials, {}, lambda each: each.name == axis)))
