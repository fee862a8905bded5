"""What diffusers' own classes do with the pipeline's call; the shims exist because of these."""

from __future__ import annotations

import math
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)

from harness.pipeline.sigma_schedules import mu
from harness.schema.spec import FLEX2
from tests.pipeline.exact_flow import integrate, pipeline_call, target

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

FLOW: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
DYNAMIC: dict[str, Any] = {**FLOW, "use_dynamic_shifting": True}
STEPS, MU = 25, mu(4096, FLEX2)
NOISE = torch.randn(1, 256, 4, generator=torch.Generator().manual_seed(0))


def reference(**changes: Any) -> Any:
    return FlowMatchEulerDiscreteScheduler(**{**FLEX2.scheduler, **changes})


def sigmas(scheduler: Any, mu: float | None = MU) -> torch.Tensor:
    pipeline_call(scheduler, STEPS, mu)
    return scheduler.sigmas


@pytest.mark.parametrize("shift", [1.0, 7.0])
def test_shift_does_nothing_under_dynamic_shifting(shift: float) -> None:
    assert torch.equal(sigmas(reference(shift=shift)), sigmas(reference()))
    static = reference(shift=shift, use_dynamic_shifting=False)
    assert not torch.equal(sigmas(static), sigmas(reference(use_dynamic_shifting=False)))


@pytest.mark.parametrize(("pixels", "shift"), [(512, 1.878), (768, 2.332), (1024, 3.158), (1344, 5.212)])
def test_dynamic_shifting_is_a_static_shift_of_exp_mu(pixels: int, shift: float) -> None:
    tokens = (pixels // 16) ** 2
    assert math.exp(mu(tokens, FLEX2)) == pytest.approx(shift, abs=5e-4)
    static = reference(shift=math.exp(mu(tokens, FLEX2)), use_dynamic_shifting=False)
    torch.testing.assert_close(sigmas(reference(), mu(tokens, FLEX2)), sigmas(static), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 7.0])
def test_the_first_sigma_is_one_for_every_shift(shift: float) -> None:
    assert sigmas(reference(shift=shift, use_dynamic_shifting=False))[0] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_beta_sigmas": True},
        {"time_shift_type": "linear"},
        {"shift_terminal": 0.02},
    ],
)
def test_flow_match_euler_works_with_every_spacing(changes: dict[str, Any]) -> None:
    scheduler = reference(**changes)
    assert sigmas(scheduler)[-1] == 0
    result = integrate(scheduler, pipeline_call(scheduler, 200, mu(1024, FLEX2)), NOISE)
    torch.testing.assert_close(result, target(NOISE), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "scheduler", [reference(stochastic_sampling=True), FlowMatchLCMScheduler(**FLEX2.scheduler)]
)
def test_stochastic_steps_draw_from_the_global_generator(scheduler: Any) -> None:
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return integrate(scheduler, pipeline_call(scheduler, 4, MU), NOISE)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_inverted_sigmas_run_and_give_garbage() -> None:
    scheduler = reference(invert_sigmas=True)
    assert sigmas(scheduler)[-1] == 1
    result = integrate(scheduler, pipeline_call(scheduler, 200, MU), NOISE)
    assert (result - target(NOISE)).abs().mean() > 0.5


def test_unipc_works_in_flow_mode_and_calls_its_shift_flow_shift() -> None:
    scheduler = UniPCMultistepScheduler(**DYNAMIC)
    result = integrate(scheduler, pipeline_call(scheduler, 100, MU), NOISE)
    torch.testing.assert_close(result, target(NOISE), atol=0.05, rtol=0)
    shifted = sigmas(UniPCMultistepScheduler(**FLOW, flow_shift=3.0))
    torch.testing.assert_close(shifted, sigmas(reference(use_dynamic_shifting=False)), atol=2e-6, rtol=0)
    with pytest.raises(TypeError, match="shift"):
        UniPCMultistepScheduler(**FLOW, shift=3.0)


def test_unipc_without_flow_mode_refuses_sigmas() -> None:
    with pytest.raises(ValueError, match="use_flow_sigmas"):
        pipeline_call(UniPCMultistepScheduler(), STEPS, MU)


@pytest.mark.parametrize(
    "cls", [DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler, DEISMultistepScheduler]
)
def test_log_snr_solvers_refuse_sigmas_but_take_mu(cls: Any) -> None:
    with pytest.raises(ValueError, match="sigma"):
        pipeline_call(cls(**DYNAMIC), STEPS, MU)
    scheduler = cls(**DYNAMIC)
    scheduler.set_timesteps(STEPS, mu=MU)
    assert len(scheduler.timesteps) == STEPS
    assert 0.999 < scheduler.sigmas[0] < 1


@pytest.mark.parametrize("cls", [DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler])
def test_dpm_solvers_end_at_zero(cls: Any) -> None:
    scheduler = cls(**DYNAMIC)
    scheduler.set_timesteps(STEPS, mu=MU)
    assert scheduler.sigmas[-1] == 0


@pytest.mark.parametrize("cls", [DEISMultistepScheduler, SASolverScheduler])
def test_deis_and_sa_solver_stop_before_zero(cls: Any) -> None:
    scheduler = cls(**FLOW)
    scheduler.set_timesteps(STEPS)
    assert scheduler.sigmas[-1] == scheduler.sigmas[-2] > 0


def test_sa_solver_refuses_sigmas_and_knows_no_mu() -> None:
    with pytest.raises(ValueError, match="sigma"):
        pipeline_call(SASolverScheduler(**FLOW), STEPS, MU)
    with pytest.raises(TypeError, match="mu"):
        SASolverScheduler(**FLOW).set_timesteps(STEPS, mu=MU)


def test_flow_match_heun_takes_only_a_number_of_steps() -> None:
    with pytest.raises(ValueError, match="sigma"):
        pipeline_call(FlowMatchHeunDiscreteScheduler(shift=3.0), STEPS, MU)
    with pytest.raises(TypeError, match="mu"):
        FlowMatchHeunDiscreteScheduler(shift=3.0).set_timesteps(STEPS, mu=MU)
    scheduler = FlowMatchHeunDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    assert len(scheduler.timesteps) == 2 * STEPS - 1


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EDMEulerScheduler"])
def test_diffusion_eulers_know_no_mu(name: str) -> None:
    with pytest.raises(TypeError, match="mu"):
        pipeline_call(getattr(diffusers, name)(), STEPS, MU)


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "DDPMScheduler",
        "PNDMScheduler",
        "LMSDiscreteScheduler",
        "LCMScheduler",
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "TCDScheduler",
    ],
)
def test_diffusion_schedulers_refuse_the_call_and_have_no_flow_prediction(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    with pytest.raises(ValueError, match="sigma"):
        pipeline_call(scheduler, STEPS, MU)
    assert "use_flow_sigmas" not in scheduler.config
