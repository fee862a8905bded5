"""What renders that were made point to: values of numbers, and pairs of settings that add up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.lines import Lines
from harness.diagnosis.pairs import together
from harness.diagnosis.projected import projected
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.superposed import superposed
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import trials_of

Altered = Callable[..., Case]


@pytest.mark.parametrize(
    ("first", "wanted"),
    [({"base_shift": 0.4}, {"base_shift": 0.8}), ({"guidance_scale": 4.5}, {"guidance_scale": 3.7})],
)
def test_a_projection_finds_a_value_on_either_side(
    altered: Altered, renderer: ReferenceRenderer, first: dict[str, Value], wanted: dict[str, Value]
) -> None:
    progress = Progress(trials_of(altered(f"either-{next(iter(wanted))}", **wanted), renderer), 100, None)
    progress.trials.trial(first)
    progress.run(projected(progress, Lines(progress), progress.reference))
    assert progress.best.settings == wanted
    assert len(progress.trials.made) <= 6


def test_a_projection_needs_two_values_and_a_direction(altered: Altered, renderer: ReferenceRenderer) -> None:
    progress = Progress(trials_of(altered("aside", base_shift=0.65), renderer), 100, None)
    assert list(projected(progress, Lines(progress), progress.reference)) == []
    progress.trials.trial({"guidance_scale": 3.0})
    assert list(projected(progress, Lines(progress), progress.reference)) == []


def test_two_changes_add_up(altered: Altered, renderer: ReferenceRenderer) -> None:
    """Neither stands out alone, so that pairs of them came after what nothing points to."""
    wanted = {"base_shift": 0.6, "quantize": "qfloat8-te"}
    trials = trials_of(altered("add-up", **wanted), renderer)
    for settings in ({"base_shift": 0.65}, {"quantize": "qfloat8-te"}, {"steps": 7}, {"max_shift": 1.1}):
        trials.trial(settings)
    base = trials.trial({})
    assert superposed(trials, base)[0] == wanted


def test_what_is_near_another_checkpoint_is_projected(altered: Altered, renderer: ReferenceRenderer) -> None:
    """It cost 123 renders and was not found: the shift's other side was never rendered."""
    case = altered("near-checkpoint", checkpoint=200, base_shift=0.4)
    found = diagnose(case, renderer=renderer)
    assert {cause.axis: cause.value for cause in found.causes} == {"checkpoint": 200, "base_shift": 0.4}
    assert found.spent < 45


def test_short_renders_find_few_bits_on_top_of_other_noise(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    """The budget of 120 was spent on top of the right noise, and no other quantizer was tried there."""
    wanted = {"seed": 44, "quantize": "uint2"}
    progress = Progress(trials_of(altered("noise-and-bits", **wanted), renderer), 100, None)
    leader = progress.trials.trial({"seed": 44})
    assert leader.distance > 10
    progress.run(together(progress, Lines(progress), progress.reference, [leader]))
    assert progress.best.settings == wanted
    assert progress.best.distance == 0
