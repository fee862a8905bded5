"""Which other noise a preview was drawn from, by short renders."""

from __future__ import annotations

from collections.abc import Callable

from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.other_noise import (
    FIRST_LOOK,
    clear_noise,
    first_gains,
    gains,
    is_noise_right,
    is_noise_wrong,
    likely_noise,
)
from harness.diagnosis.search import search
from harness.diagnosis.trials import TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.diagnosis.truths import trials_of

Altered = Callable[..., Case]


def seeds(trials: TrialRenderer) -> list[Factor]:
    return factors(trials, {}, lambda axis: axis.name == "seed")


def test_the_seed_of_a_preview_has_the_nearest_short_render(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("short-seed", seed=1337), renderer)
    found = gains(trials, trials.trial({}), seeds(trials))
    assert found[0][1].values == (1337,)
    assert found[0][0] > 0
    assert [trial.settings for trial in trials.made] == [{}]


def test_a_seed_that_people_type_is_found_before_schedules(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("typed", seed=1337), renderer)
    found = search(trials, 40)
    assert found.path[-1].settings == {"seed": 1337}
    assert not any({"steps", "scheduler"} & each.settings.keys() for each in trials.made)


def test_few_short_renders_show_that_the_seed_is_right(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("right-seed", guidance_scale=4.1), renderer)
    base = trials.trial({})
    assert (
        first_gains(trials, base, seeds(trials)) == []
    )  # the whole render is much nearer than its short one
    assert len(trials.short_made) == 1
    assert is_noise_right(gains(trials, base, seeds(trials)[:FIRST_LOOK]))


def test_what_short_renders_say_of_noise(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("said", seed=44), renderer)
    one, two, three = seeds(trials)[:3]
    era = Factor(one.axis, {}, (1,))
    assert likely_noise([(0.2, one), (0.12, two), (-0.3, three)]) == [one, two]
    assert likely_noise([(-0.2, one), (-0.3, two)]) == []
    assert clear_noise([(0.4, one), (0.1, two)]) == [one]
    assert clear_noise([(0.2, one), (0.18, two)]) == []
    assert clear_noise([]) == []
    assert is_noise_wrong([(0.2, one), (-0.1, era)])
    assert not is_noise_wrong([(0.05, one)])
    assert is_noise_right([(-0.2, one)])
    assert not is_noise_right([(-0.05, one)])


def test_the_other_era_is_rendered_whole_where_it_is_nearer(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("era", trained_in="bf16", noise="legacy"), renderer)
    (legacy,) = factors(trials, {}, lambda axis: axis.name == "noise")
    seed = seeds(trials)[0]
    assert clear_noise([(0.05, seed), (0.02, legacy)]) == [legacy]
    assert clear_noise([(0.05, seed), (-0.02, legacy)]) == []
