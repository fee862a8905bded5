"""What comes before what in a search, and what is left out because it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from harness.diagnosis.estimates import Estimate
from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.groups import unshifted_first
from harness.diagnosis.identity import Identity
from harness.diagnosis.lines import Lines, unranked
from harness.diagnosis.narrowing import narrow, reach
from harness.diagnosis.near import Near
from harness.diagnosis.one_shift import unshifted
from harness.diagnosis.scans import Scans
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.trials import Settings, Trial
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.diagnosis.truths import trials_of

Altered = Callable[..., Case]


@pytest.fixture
def progress(altered: Altered, renderer: ReferenceRenderer) -> Progress:
    return Progress(trials_of(altered("order", guidance_scale=6.3), renderer), 100, None)


def of_axis(progress: Progress, name: str) -> Factor:
    return next(each for each in factors(progress.trials, {}) if each.axis.name == name)


def attempt(progress: Progress, settings: Settings) -> Trial:
    trial = progress.trials.attempt(settings)
    assert trial is not None
    return trial


def test_nothing_is_asked_for_once_the_search_is_settled(progress: Progress) -> None:
    """To ask for the next render may cost estimates."""
    asked: list[str] = []

    def renders() -> Iterator[Render]:
        for name, settings in (("right", {"guidance_scale": 6.3}), ("more", {"steps": 4})):
            asked.append(name)
            yield lambda settings=settings: attempt(progress, settings)  # type: ignore[misc]

    assert progress.run(renders())
    assert asked == ["right"]


def test_dynamic_shifting_comes_before_steps(progress: Progress) -> None:
    names = ("steps", "guidance_scale", "dynamic_shifting")
    ranked = [Estimate(of_axis(progress, name), 0.3, 1.0) for name in names]
    assert named(unshifted_first(ranked, ranked)) == ["dynamic_shifting", "steps", "guidance_scale"]
    assert named(unshifted_first(ranked[:2], ranked)) == ["dynamic_shifting", "steps", "guidance_scale"]
    assert named(unshifted_first(ranked[1:2], ranked)) == ["guidance_scale"]


def named(found: list[Estimate]) -> list[str]:
    return [each.factor.axis.name for each in found]


def test_of_shifts_the_one_that_is_switched_leads() -> None:
    assert unshifted({"base_shift": 1.05, "steps": 16}) == {"dynamic_shifting": False, "steps": 16}
    assert unshifted({"steps": 16}) == {"steps": 16}


def test_the_middle_of_a_wide_gap_beside_the_best_value_is_rendered(progress: Progress) -> None:
    """A picture about to become another changes in leaps: no secant step went there."""
    near, far = attempt(progress, {"guidance_scale": 4.5}), attempt(progress, {"guidance_scale": 7.5})
    middle = Scans(Lines(progress))._middle(near, of_axis(progress, "guidance_scale"))
    assert far.distance > 0
    assert middle is not None
    assert middle.settings == {"guidance_scale": 6.0}


def test_nothing_is_rendered_in_a_narrow_gap(progress: Progress) -> None:
    near = attempt(progress, {"guidance_scale": 4.5})
    attempt(progress, {"guidance_scale": 5.0})
    assert Scans(Lines(progress))._middle(near, of_axis(progress, "guidance_scale")) is None


def test_a_number_goes_below_zero_only_from_below_zero(progress: Progress) -> None:
    multiplier = of_axis(progress, "network_multiplier")
    assert reach(multiplier, 1.0)[0] == 0
    assert reach(replace(multiplier, values=(-1.0, 1.0)), 0.5)[0] == -1
    lowest = min(narrow(progress.trials, progress.reference, multiplier, 0.3), key=lowest_multiplier)
    assert lowest_multiplier(lowest) >= 0


def lowest_multiplier(trial: Trial) -> float:
    return float(trial.settings["network_multiplier"])


def test_other_noise_near_a_trial_ends_where_it_draws_other_pictures(progress: Progress) -> None:
    near = Near(progress, Lines(progress), progress.reference, attempt(progress, {"guidance_scale": 6.2}))
    seeds = [each for each in factors(progress.trials, {}) if each.axis.name == "seed"]
    assert len(seeds) > 3
    assert len(list(near._until_far(seeds))) == 3


def test_numbers_take_two_turns_each(progress: Progress) -> None:
    lines = Lines(progress)
    found = unranked([of_axis(progress, "network_multiplier"), of_axis(progress, "steps")])
    for render in lines.each(progress.reference, found):
        render()
    waiting = len(lines._waiting)
    made = len(progress.trials.made)
    for render in lines.turns(2):
        render()
    assert waiting > 0
    assert len(progress.trials.made) <= made + 2 * waiting
    assert all(line.rounds <= 2 for line in lines._waiting)


def test_other_dtypes_come_first_where_something_is_within_the_floor(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(altered("floor", max_shift=1.4), renderer), 100, None)
    renders = Identity(progress, Lines(progress), progress.reference, progress.reference).renders()
    for render in (next(renders), next(renders)):
        render()
    assert all("dtype" in trial.settings for trial in progress.trials.made[1:])
