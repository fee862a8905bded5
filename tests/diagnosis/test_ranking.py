"""Estimates from what the model said along another render."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from truths import in_fp32, truth

from harness.case import Case
from harness.diagnosis.bench import Bench, rms
from harness.diagnosis.ranking import Ranking
from harness.reference.render import ReferenceRenderer
from harness.reference.retrace import Answers
from harness.renderer import RenderRequest, Retracer
from harness.runs.plan import RunOptions, request_of
from harness.variants.axis import Context


@pytest.fixture(scope="module")
def request_(bases: list[Case]) -> RenderRequest:
    return request_of(in_fp32(bases[0]), RunOptions(), "cpu")


def recorded(*sigmas: float) -> Answers:
    answers = Answers()
    for sigma in sigmas:
        answers.add(sigma, torch.full((2,), sigma))
    return answers


def test_answers_lie_on_straight_lines_and_the_first_stays() -> None:
    answers = recorded(1.0, 0.5)
    answers.add(0.5004, torch.zeros(2))
    assert answers.at(0.75).tolist() == [0.75, 0.75]
    assert answers.at(0.1).tolist() == [0.5, 0.5]
    assert answers.knows(0.5004)
    assert not answers.knows(0.6)


def test_a_trace_renders_and_its_answers_render_again(
    renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    assert isinstance(renderer, Retracer)
    made, answers = renderer.trace(request_)
    again, calls = renderer.retrace(request_, answers)
    assert calls == 0
    assert np.array_equal(made.image, again.image)
    assert np.array_equal(made.image, renderer.render(request_).image)


def test_another_schedule_is_followed_without_a_call(
    renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    own, answers = renderer.trace(request_)
    other = dataclasses.replace(request_, scheduler="DPMSolverMultistep")
    true = renderer.render(other).image
    estimate, calls = renderer.retrace(other, answers)
    assert calls == 0
    assert rms(true, estimate.image) < 0.9 * rms(true, own.image)


def test_a_glimpse_asks_once_and_forgets(renderer: ReferenceRenderer, request_: RenderRequest) -> None:
    own, answers = renderer.trace(request_)
    other = dataclasses.replace(request_, guidance_scale=7.0, stop_after=2)
    glimpse, calls = renderer.retrace(other, answers)
    assert calls == 1
    assert not np.array_equal(
        glimpse.image, renderer.retrace(dataclasses.replace(request_, stop_after=2), answers)[0].image
    )
    assert np.array_equal(renderer.retrace(request_, answers)[0].image, own.image)


def test_the_values_of_a_number_are_a_line_away_from_the_bases_own(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    made = truth(bases, ("network_multiplier",), renderer, "line")
    bench = Bench(Context(made.case, request_of(made.case, RunOptions(), "cpu"), "cpu"), renderer)
    groups = Ranking(bench, bench.trace({}), 60).groups(lora_first=True)
    lines = next(lines for lines, _ in groups if any("network_multiplier" in line[0] for line in lines))
    numbers = [line for line in lines if "network_multiplier" in line[0]]
    values = [[settings["network_multiplier"] for settings in line] for line in numbers]
    assert sorted(values) == [[0.9, 0.8, 0.7, 0.6, 0.5], [1.2, 1.5]]
    assert made.factors["network_multiplier"] in values[0]  # the likelier direction
