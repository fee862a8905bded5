"""Estimates from the trajectory of another render."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from harness.diagnosis.estimates import Estimator
from harness.diagnosis.factors import factors
from harness.diagnosis.lines import Lines
from harness.diagnosis.narrowing import narrow
from harness.diagnosis.quantized import Quantized
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.trials import Trial, TrialRenderer, rms
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.trajectory import RecordedTrajectory
from harness.runs.plan import RunOptions, request_of
from harness.runs.worker_process import WorkerProcess
from harness.runs.workers import RetryingRenderer, reference_renderer
from harness.schema.case import Case
from harness.schema.render import RenderRequest
from harness.sweeps.axis import Context


@pytest.fixture(scope="module")
def request_(bases: list[Case]) -> RenderRequest:
    return request_of(bases[0], RunOptions(), "cpu")


def recorded(*sigmas: float) -> RecordedTrajectory:
    trajectory = RecordedTrajectory()
    for sigma in sigmas:
        trajectory.add(sigma, torch.full((2,), sigma))
    return trajectory


def test_velocities_are_interpolated_and_the_first_stays() -> None:
    trajectory = recorded(1.0, 0.5)
    trajectory.add(0.5004, torch.zeros(2))
    assert trajectory.at(0.75).tolist() == [0.75, 0.75]
    assert trajectory.at(0.1).tolist() == [0.5, 0.5]
    assert trajectory.holds(0.5004)
    assert not trajectory.holds(0.6)


def test_a_recorded_render_is_estimated_bit_for_bit(
    fresh_renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    made, trajectory = fresh_renderer.record(request_)
    again, calls = fresh_renderer.estimate(request_, trajectory)
    assert calls == 0
    assert np.array_equal(made.image, again.image)
    assert np.array_equal(made.image, fresh_renderer.render(request_).image)


def test_another_schedule_is_followed_without_a_call(
    fresh_renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    own, trajectory = fresh_renderer.record(request_)
    other = dataclasses.replace(request_, scheduler="DPMSolverMultistep")
    true = fresh_renderer.render(other).image
    estimate, calls = fresh_renderer.estimate(other, trajectory)
    assert calls == 0
    assert rms(true, estimate.image) < 0.9 * rms(true, own.image)


def test_an_early_stop_asks_once_and_forgets(
    fresh_renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    own, trajectory = fresh_renderer.record(request_)
    other = dataclasses.replace(request_, guidance_scale=7.0, stop_after=2)
    early, calls = fresh_renderer.estimate(other, trajectory)
    assert calls == 1
    assert not np.array_equal(
        early.image, fresh_renderer.estimate(dataclasses.replace(request_, stop_after=2), trajectory)[0].image
    )
    assert np.array_equal(fresh_renderer.estimate(request_, trajectory)[0].image, own.image)


def test_the_renderer_that_diagnose_makes_itself_estimates_too(bases: list[Case]) -> None:
    context = Context(bases[0], request_of(bases[0], RunOptions(), "cpu"), "cpu")
    assert TrialRenderer(context, reference_renderer(RunOptions(), "cpu")).can_follow
    wrapped = RetryingRenderer(ReferenceRenderer(device="cpu"))
    assert TrialRenderer(context, wrapped).can_follow
    assert not TrialRenderer(context, WorkerProcess(partial(ReferenceRenderer, device="cpu"))).can_follow


@pytest.fixture(scope="module")
def other(altered: Callable[..., Case], renderer: ReferenceRenderer) -> tuple[TrialRenderer, Trial]:
    """A case whose preview was rendered with another guidance, and its own render."""
    case = altered("estimated", guidance_scale=3.4)
    trials = TrialRenderer(Context(case, request_of(case, RunOptions(), "cpu"), "cpu"), renderer)
    return trials, trials.trial({})


def test_a_number_is_sought_in_the_direction_of_the_preview(other: tuple[TrialRenderer, Trial]) -> None:
    trials, base = other
    factor = next(each for each in factors(trials, {}) if each.axis.name == "guidance_scale")
    estimate = Estimator(trials, base).estimate(factor)
    assert estimate.first == 3.5
    assert 0 < estimate.agreement <= 1


def test_a_number_is_narrowed_to_what_users_type(other: tuple[TrialRenderer, Trial]) -> None:
    trials, base = other
    factor = next(each for each in factors(trials, {}) if each.axis.name == "guidance_scale")
    made = list(narrow(trials, base, factor, 3.5))
    assert made[-1].settings == {"guidance_scale": 3.4}
    assert made[-1].distance == 0
    assert len(made) <= 4


def test_values_of_one_number_are_one_factor_and_other_values_one_each(bases: list[Case]) -> None:
    trials = TrialRenderer(
        Context(bases[0], request_of(bases[0], RunOptions(), "cpu"), "cpu"), ReferenceRenderer(device="cpu")
    )
    found = factors(trials, {})
    assert sum(each.axis.name == "network_multiplier" for each in found) == 1
    assert sum(each.axis.name == "checkpoint" for each in found) == 2
    assert not any(each.axis.name == "guidance_scale" for each in factors(trials, {"guidance_scale": 3.0}))


@pytest.mark.parametrize("mode", ["merged", "stochastic"])
def test_two_calls_tell_how_a_lora_was_applied_to_a_base_in_few_bits(
    altered: Callable[..., Case], renderer: ReferenceRenderer, mode: str
) -> None:
    wanted = {"quantize": "fp8_e5m2-transformer", "lora_mode": mode}
    case = altered(f"few-bits-{mode}", **wanted)
    trials = TrialRenderer(Context(case, request_of(case, RunOptions(), "cpu"), "cpu"), renderer)
    progress = Progress(trials, 40, None)
    found = factors(trials, {}, lambda axis: axis.name == "quantize")
    found = [each for each in found if str(each.values[0]).startswith(("fp8", "uint4"))]
    spent = trials.spent
    best, *others = Quantized(progress, Lines(progress), progress.reference, found).ranked
    assert best.factor.settings(best.factor.values[0]) == wanted
    assert best.agreement > 0.25
    ways = [each for each in (best, *others) if each.factor.values[0] == wanted["quantize"]]
    assert len(ways) == 4
    assert len(others) >= len(found)
    assert trials.spent - spent < len(others)
