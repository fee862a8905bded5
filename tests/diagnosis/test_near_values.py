"""Values beside the one that a search came to first: across its own, between usual ones, within the floor."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.flat_lines import on_flat_lines
from harness.diagnosis.floor import MIN_FLOOR, Floor
from harness.diagnosis.identity import Identity
from harness.diagnosis.lines import Lines
from harness.diagnosis.narrowing import narrow
from harness.diagnosis.near import MAX_CLOSE, Near
from harness.diagnosis.scans import Scans
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.trials import Trial
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import trials_of

Altered = Callable[..., Case]


@pytest.fixture(scope="module")
def progress(altered: Altered, renderer: ReferenceRenderer) -> Progress:
    return Progress(trials_of(altered("near", guidance_scale=3.4), renderer), 100, None)


def guidance(progress: Progress) -> Factor:
    return next(each for each in factors(progress.trials, {}) if each.axis.name == "guidance_scale")


def attempt(progress: Progress, value: float) -> Trial:
    trial = progress.trials.attempt({"guidance_scale": value})
    assert trial is not None
    return trial


def test_a_number_that_comes_no_nearer_is_tried_on_its_other_side(progress: Progress) -> None:
    made = list(narrow(progress.trials, progress.reference, guidance(progress), 4.5))
    assert made[-1].settings == {"guidance_scale": 3.4}
    assert made[-1].distance == 0


@pytest.mark.parametrize("value", [2.9, 3.9])
def test_a_number_is_narrowed_again_to_either_side(
    altered: Altered, renderer: ReferenceRenderer, value: float
) -> None:
    progress = Progress(trials_of(altered("either-side", guidance_scale=3.4), renderer), 100, None)
    found = Lines(progress).narrow_again(attempt(progress, value))
    assert found.settings == {"guidance_scale": 3.4}
    assert len(progress.trials.made) < 8


def test_a_number_without_other_values_ends(altered: Altered, renderer: ReferenceRenderer) -> None:
    """Nothing lies across its own value: narrowing went on for ever there."""
    progress = Progress(trials_of(altered("another", seed=99), renderer), 100, None)
    alone = replace(guidance(progress), values=(guidance(progress).own,))
    made = list(narrow(progress.trials, progress.reference, alone, 4.5))
    assert made[0].settings == {"guidance_scale": 4.5}
    assert len(made) < 4


def test_values_between_two_usual_ones_are_all_rendered(progress: Progress) -> None:
    usual = attempt(progress, 2.5)
    for render in Scans(Lines(progress)).between(guidance(progress), usual):
        render()
    rendered = {trial.settings.get("guidance_scale") for trial in progress.trials.made}
    assert {2.1, 2.2, 2.3, 2.4, 2.6, 2.7, 2.8, 2.9} <= rendered


def test_within_the_floor_a_number_beside_may_be_identical(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("beside", guidance_scale=3.4), renderer), 100, None)
    found = Identity(progress, Lines(progress), progress.reference, attempt(progress, 3.6))
    progress.confirm(found.renders())
    assert progress.best.distance == 0
    assert progress.best.settings == {"guidance_scale": 3.4}


def near(progress: Progress, **settings: Value) -> Near:
    trial = progress.trials.attempt(settings)
    assert trial is not None
    return Near(progress, Lines(progress), progress.reference, trial)


def test_two_numbers_of_a_schedule_move_together(altered: Altered, renderer: ReferenceRenderer) -> None:
    progress = Progress(trials_of(altered("together", steps=7, base_shift=0.0), renderer), 100, None)
    found = near(progress, base_shift=0.1).together()
    assert {"base_shift": 0.0, "steps": 7} in found
    assert all(set(settings) == {"base_shift", "steps"} for settings in found)


def test_schedules_of_every_axis_are_near_in_turn(altered: Altered, renderer: ReferenceRenderer) -> None:
    progress = Progress(trials_of(altered("in_turn", max_shift=1.4), renderer), 100, None)
    found = list(near(progress).schedules(MAX_CLOSE))
    assert {"max_shift": 1.4} in found
    assert len({name for settings in found for name in settings}) > 3


def test_where_one_solver_is_near_the_others_are_too(altered: Altered, renderer: ReferenceRenderer) -> None:
    progress = Progress(trials_of(altered("solver", scheduler="UniPC"), renderer), 100, None)
    found = near(progress, scheduler="DPMSolverMultistep").solvers()
    assert "UniPC" in [each.factor.values[0] for each in found]
    assert near(progress, max_shift=1.4).solvers() == []


def test_a_weak_lora_is_found_where_none_comes_near(altered: Altered, renderer: ReferenceRenderer) -> None:
    found = diagnose(altered("weak", network_multiplier=0.35), renderer=renderer)
    assert [(cause.axis, cause.value) for cause in found.causes] == [("network_multiplier", 0.35)]
    assert found.spent < 30


def test_a_lora_that_is_off_is_no_rounding(altered: Altered, renderer: ReferenceRenderer) -> None:
    progress = Progress(trials_of(altered("off", lora_mode="none", max_shift=1.4), renderer), 100, None)
    anchor = progress.trials.attempt({"lora_mode": "none"})
    assert anchor is not None
    for render in itertools.islice(
        Identity(progress, Lines(progress), progress.reference, anchor).renders(), 8
    ):
        render()
    assert len(progress.trials.made) > 5
    assert all("lora_mode" in trial.settings for trial in progress.trials.made[1:])


def test_the_usual_dtype_is_tried_early(altered: Altered, renderer: ReferenceRenderer) -> None:
    found = diagnose(altered("rounded", dtype="bf16"), renderer=renderer)
    assert [(cause.axis, cause.value) for cause in found.causes] == [("dtype", "bf16")]
    assert found.spent < 10


def test_the_floor_knows_what_the_codec_makes_of_rounding(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    floors = {}
    for suffix in ("png", "webp"):
        trials = trials_of(altered("floor", suffix=suffix), renderer)
        floors[suffix] = Floor(trials).at(trials.trial({}))
    assert MIN_FLOOR <= floors["png"] < 0.7
    assert floors["webp"] > 1


def test_after_an_identical_control_another_multiplier_may_be_identical(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    """On a GPU one of 0.8 lay within the floor of 1, and only ways of applying the LoRA were tried."""
    progress = Progress(trials_of(altered("multiplier", network_multiplier=0.95), renderer), 100, None)
    identity = Identity(progress, Lines(progress), progress.reference, progress.reference)
    progress.confirm(identity.of_lora())
    assert progress.best.distance == 0
    assert progress.best.settings == {"network_multiplier": 0.95}


def test_steps_beside_the_recorded_ones_are_tried_within_the_floor(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("near-steps", guidance_scale=4.1), renderer), 100, None)
    progress.trials.trial({"steps": 4})  # far: nothing beyond it is tried
    found = Identity(progress, Lines(progress), progress.reference, progress.reference)
    beside = found._beside_steps(progress.reference)
    assert beside == [{"steps": count} for count in (7, 5, 8, 9, 10)]


def test_a_search_for_identity_ends_where_something_is_clearly_nearer(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("another", seed=99), renderer), 100, None)
    made: list[int] = []
    renders = [functools.partial(made.append, number) for number in range(5)]
    progress.confirm(iter(renders), until=lambda: len(made) == 2)
    assert made == [0, 1]


def test_usual_values_of_a_number_that_changes_little_are_tried_on_top_of_what_leads(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("little-on-top", guidance_scale=3.4), renderer), 100, None)
    leader = attempt(progress, 3.6)
    near = progress.trials.trial({"guidance_scale": 3.6, "max_shift": 1.1})
    assert near.distance < 1.1 * leader.distance
    left = on_flat_lines(progress.trials, [leader.settings], leader)
    assert {"guidance_scale": 3.6, "max_shift": 1.5} in left


def test_beyond_two_values_that_are_far_nothing_is_tried(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("near", guidance_scale=3.4), renderer), 100, None)
    plain = attempt(progress, 3.5)
    far = [attempt(progress, value) for value in (6.0, 6.5)]
    assert all(each.distance > 2 * plain.distance for each in far)
    left = [
        each["guidance_scale"]
        for each in on_flat_lines(progress.trials, [{}], plain)
        if len(each) == 1 and "guidance_scale" in each
    ]
    assert {3.0, 4.5, 5.0} <= set(left)
    assert max(left) < 6.5
