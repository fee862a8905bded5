"""Estimates from the trajectory of another render."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from harness.diagnosis.ranking import Line, Ranking
from harness.diagnosis.trials import TrialRenderer, rms
from harness.pipeline.renderer import ReferenceRenderer
from harness.pipeline.trajectory import RecordedTrajectory
from harness.runs.plan import RunOptions, request_of
from harness.runs.worker_process import WorkerProcess
from harness.runs.workers import RetryingRenderer, reference_renderer
from harness.schema.case import Case
from harness.schema.render import RenderRequest
from harness.sweeps.axis import Context
from tests.diagnosis.truths import Truth, in_fp32, truth


@pytest.fixture(scope="module")
def request_(bases: list[Case]) -> RenderRequest:
    return request_of(in_fp32(bases[0]), RunOptions(), "cpu")


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
    renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    made, trajectory = renderer.record(request_)
    again, calls = renderer.estimate(request_, trajectory)
    assert calls == 0
    assert np.array_equal(made.image, again.image)
    assert np.array_equal(made.image, renderer.render(request_).image)


def test_another_schedule_is_followed_without_a_call(
    renderer: ReferenceRenderer, request_: RenderRequest
) -> None:
    own, trajectory = renderer.record(request_)
    other = dataclasses.replace(request_, scheduler="DPMSolverMultistep")
    true = renderer.render(other).image
    estimate, calls = renderer.estimate(other, trajectory)
    assert calls == 0
    assert rms(true, estimate.image) < 0.9 * rms(true, own.image)


def test_an_early_stop_asks_once_and_forgets(renderer: ReferenceRenderer, request_: RenderRequest) -> None:
    own, trajectory = renderer.record(request_)
    other = dataclasses.replace(request_, guidance_scale=7.0, stop_after=2)
    early, calls = renderer.estimate(other, trajectory)
    assert calls == 1
    assert not np.array_equal(
        early.image, renderer.estimate(dataclasses.replace(request_, stop_after=2), trajectory)[0].image
    )
    assert np.array_equal(renderer.estimate(request_, trajectory)[0].image, own.image)


def test_the_renderer_that_diagnose_makes_itself_estimates_too(bases: list[Case]) -> None:
    context = Context(bases[0], request_of(bases[0], RunOptions(), "cpu"), "cpu")
    assert TrialRenderer(context, reference_renderer(RunOptions(), "cpu")).can_follow
    wrapped = RetryingRenderer(ReferenceRenderer(device="cpu"))
    assert TrialRenderer(context, wrapped).can_follow
    assert not TrialRenderer(context, WorkerProcess(partial(ReferenceRenderer, device="cpu"))).can_follow


@pytest.mark.parametrize(("missing", "taken"), [(12, 12), (100, 16), (1, 4), (-20, 4)])
def test_a_change_seen_early_is_taken_as_large_as_fits_from_half_to_twice(
    bases: list[Case], renderer: ReferenceRenderer, missing: int, taken: int
) -> None:
    trials = TrialRenderer(Context(bases[0], request_of(bases[0], RunOptions(), "cpu"), "cpu"), renderer)
    grey = np.full((128, 128, 3), 100, np.uint8)
    base = dataclasses.replace(trials.trial({}, stop_after=1), image=grey, distance=float(abs(missing)))
    trials.preview = (grey.astype(int) + missing).astype(np.uint8)
    assert np.unique(Ranking(trials, base, 60)._with(np.full(grey.shape, 8.0))).tolist() == [100 + taken]


@pytest.fixture(scope="module")
def lora_lines(bases: list[Case], renderer: ReferenceRenderer) -> tuple[Truth, list[Line]]:
    """Return a truth of one multiplier at the last checkpoint, and the lines of what concerns the LoRA."""
    made = truth(bases, ("network_multiplier",), renderer, "away")
    trials = TrialRenderer(Context(made.case, request_of(made.case, RunOptions(), "cpu"), "cpu"), renderer)
    lines, _ = next(Ranking(trials, trials.trace({}), 60).groups(lora_first=True))
    return made, lines


def test_the_values_of_a_number_are_a_line_away_from_the_bases_own(
    lora_lines: tuple[Truth, list[Line]],
) -> None:
    made, lines = lora_lines
    numbers = [line for line in lines if "network_multiplier" in line[0]]
    values = [[settings["network_multiplier"] for settings in line] for line in numbers]
    assert sorted(values) == [[0.9, 0.8, 0.7, 0.6, 0.5], [1.2, 1.5]]
    assert made.factors["network_multiplier"] in values[0]  # the likelier direction


def test_every_checkpoint_is_a_line(lora_lines: tuple[Truth, list[Line]]) -> None:
    found = [line for line in lora_lines[1] if "checkpoint" in line[0]]
    assert [len(line) for line in found] == [1, 1]


def test_what_changes_next_to_nothing_comes_last(lora_lines: tuple[Truth, list[Line]]) -> None:
    last = [settings.get("lora_mode") for line in lora_lines[1][-2:] for settings in line]
    assert sorted(map(str, last)) == ["adapter", "fp32"]
