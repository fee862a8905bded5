"""Static and dynamic shift are one line, along which a value of one axis says where the others lie."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from harness.diagnosis.one_shift import ShiftLine
from harness.diagnosis.trials import Settings, TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.sigma_schedules import mu
from harness.schema.case import Case
from tests.diagnosis.truths import changed, trials_of

Altered = Callable[..., Case]


def line_of(trials: TrialRenderer) -> ShiftLine:
    return ShiftLine(trials, trials.trial({}))


def test_a_static_and_a_dynamic_shift_of_one_size_lie_at_one_place(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("one-place", base_shift=0.7), renderer)
    request = trials.request({})
    static = math.exp(mu(request.spec.tokens(*request.size()), request.spec))
    line = line_of(trials)
    same = line._place({"shift": static, "dynamic_shifting": False})
    assert same == pytest.approx(line._place({}), abs=1e-4)
    assert line._place({"base_shift": 0.6}) > line._place({}) > line._place({"base_shift": 0.4})


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"base_shift": 0.7}, {"shift": 2.0, "dynamic_shifting": False}),
        ({"max_shift": 1.5}, {"max_shift": 0.7}),  # to the other side
        ({"dynamic_shifting": False}, {"base_shift": 1.0}),
        ({"shift": 2.3, "dynamic_shifting": False}, {"base_shift": 0.8}),
    ],
)
def test_a_value_of_one_axis_leads_to_that_of_another(
    altered: Altered, renderer: ReferenceRenderer, settings: Settings, first: Settings
) -> None:
    name = "-".join(map(str, settings.values()))
    trials = trials_of(altered(f"one-shift-{name}", **settings), renderer)
    trials.trial(first)
    *_, last = line_of(trials).narrow()
    assert last.distance == 0
    assert len(trials.made) <= 8


def test_what_lies_beyond_farther_renders_is_left(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("valley", guidance_scale=7.0), renderer)
    line = line_of(trials)
    assert line.may_hold({"base_shift": 1.0})
    for value in (0.7, 0.3, 0.8, 0.2):
        made = trials.trial({"base_shift": value})
        object.__setattr__(made, "distance", trials.trial({}).distance + abs(value - 0.5))
    assert not line.may_hold({"base_shift": 1.0})
    assert line.may_hold({"max_shift": 1.4})
    assert {"max_shift": 1.4} in line.usual_within(trials.trial({}).distance)
    assert {"base_shift": 1.0} not in line.usual_within(trials.trial({}).distance)


def test_a_single_step_has_no_shift(altered: Altered, renderer: ReferenceRenderer) -> None:
    line = line_of(trials_of(changed(altered("one-step"), sample_steps=1), renderer))
    assert list(line.narrow()) == []
    assert line.usual_within(255) == []
