"""Estimates from what the model said along another render."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from truths import base_cases, in_fp32

from harness.diagnosis.bench import rms
from harness.reference.render import ReferenceRenderer
from harness.reference.retrace import Answers, sigmas_asked, worth_asking
from harness.renderer import RenderRequest, Retracer
from harness.runs.plan import RunOptions, request_of


@pytest.fixture(scope="module")
def request_(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RenderRequest:
    """A case of the random checkpoint, which answers alike at alike sigmas along whichever render."""
    case = base_cases(jobs["simple"], tmp_path_factory.mktemp("ranking") / "cases")[0]
    return request_of(in_fp32(case), RunOptions(), "cpu")


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


def test_the_longest_steps_are_asked_until_the_share_is_answered() -> None:
    sigmas = [1.0, 0.9, 0.7, 0.4, 0.0]
    assert worth_asking(sigmas, recorded(1.0), 0.0) == frozenset()
    assert worth_asking(sigmas, recorded(1.0), 0.5) == {3}
    assert worth_asking(sigmas, recorded(1.0), 0.6) == {2, 3}
    assert worth_asking(sigmas, recorded(1.0, 0.4), 0.6) == {2}
    assert worth_asking(sigmas, recorded(), 1.0) == {0, 1, 2, 3}


def test_a_trace_renders_and_its_answers_render_again(
    renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    assert isinstance(renderer, Retracer)
    made, answers = renderer.trace(request_)
    again, calls = renderer.retrace(request_, answers, 1.0)
    assert calls == 0
    assert np.array_equal(made.image, again.image)
    assert np.array_equal(made.image, renderer.render(request_).image)


def test_another_schedule_is_estimated_better_the_more_is_asked(
    renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    own, answers = renderer.trace(request_)
    other = dataclasses.replace(request_, sample_steps=10)
    true = renderer.render(other).image
    estimates = [renderer.retrace(other, answers, share) for share in (0.5, 1.0)]
    (some, more) = (rms(true, made.image) for made, _ in estimates)
    assert more < 0.1 * rms(true, own.image)
    assert more < some
    assert (
        sum(calls for _, calls in estimates) == len(sigmas_asked(other)) - 1 - 2
    )  # sigmas 1 and ½ are known


def test_a_glimpse_asks_once_and_forgets(renderer: ReferenceRenderer, request_: RenderRequest) -> None:
    own, answers = renderer.trace(request_)
    other = dataclasses.replace(request_, guidance_scale=7.0, stop_after=2)
    glimpse, calls = renderer.retrace(other, answers, 0.0)
    assert calls == 1
    assert not np.array_equal(
        glimpse.image, renderer.retrace(dataclasses.replace(request_, stop_after=2), answers, 0.0)[0].image
    )
    assert np.array_equal(renderer.retrace(request_, answers, 1.0)[0].image, own.image)
