from __future__ import annotations

import hashlib
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.pipeline.schedulers import SCHEDULERS, SchedulerChoice, find_scheduler
from harness.pipeline.sigma_schedules import mu, sigmas_of, sigmas_sha256
from harness.schema.render import Shift
from harness.schema.spec import FLEX2
from tests.pipeline.exact_flow import MEAN, STD, integrate, pipeline_call, target

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

APPLICABLE = [choice for choice in SCHEDULERS.values() if choice.applicable]
DETERMINISTIC = [choice for choice in APPLICABLE if not choice.stochastic]
SECOND_ORDER = ["FlowMatchHeun", "UniPC", "DPMSolverMultistep", "DPMSolverSinglestep", "DEIS"]
LOG_SNR_SHIMS = ["DPMSolverMultistep", "DPMSolverSinglestep", "DEIS", "SASolver"]
ON_REFERENCE_SIGMAS = [*LOG_SNR_SHIMS, "UniPC", "FlowMatchLCM"]
SHIFTS = [
    Shift(),
    Shift(dynamic_shifting=False),
    Shift(dynamic_shifting=False, shift=7.0),
    Shift(max_shift=2.0),
]
NOISE = torch.randn(1, 256, 4, generator=torch.Generator().manual_seed(0))

every = pytest.mark.parametrize("choice", APPLICABLE, ids=lambda choice: choice.name)
every_deterministic = pytest.mark.parametrize("choice", DETERMINISTIC, ids=lambda choice: choice.name)


def error(choice: SchedulerChoice, steps: int) -> float:
    scheduler = choice.build(FLEX2)
    result = integrate(scheduler, pipeline_call(scheduler, steps, mu(1024, FLEX2)), NOISE)
    return float((result - target(NOISE)).abs().max())


@every_deterministic
def test_more_steps_converge_to_the_exact_flow(choice: SchedulerChoice) -> None:
    few, some, many, most = (error(choice, steps) for steps in (5, 20, 80, 200))
    assert few > 1.5 * some > 2 * many
    assert many > most
    assert most < 0.02


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_second_order_solvers_beat_euler_at_equal_steps(name: str) -> None:
    assert 2 * error(SCHEDULERS[name], 40) < error(SCHEDULERS["FlowMatchEuler"], 40)


def test_sa_solver_draws_from_the_target_distribution() -> None:
    torch.manual_seed(0)
    scheduler = SCHEDULERS["SASolver"].build(FLEX2)
    noise = torch.randn(1, 20_000, 1)
    result = integrate(scheduler, pipeline_call(scheduler, 100, mu(1024, FLEX2)), noise)
    assert float(result.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(result.std()) == pytest.approx(STD, abs=0.01)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_noise_remains_where_every_path_ends_in_one_point(
    choice: SchedulerChoice, dtype: torch.dtype
) -> None:
    scheduler = choice.build(FLEX2)
    result = integrate(scheduler, pipeline_call(scheduler, 12, mu(1024, FLEX2)), NOISE.to(dtype), std=0.0)
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), torch.full_like(NOISE, MEAN), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", LOG_SNR_SHIMS)
def test_the_first_step_is_eulers(name: str) -> None:
    results = []
    for scheduler in (SCHEDULERS[name].build(FLEX2), SCHEDULERS["FlowMatchEuler"].build(FLEX2)):
        first = pipeline_call(scheduler, 12, mu(1024, FLEX2))[:1]
        results.append(integrate(scheduler, first, NOISE))
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", LOG_SNR_SHIMS)
def test_half_precision_samples_are_stepped_in_fp32(name: str) -> None:
    def step(dtype: torch.dtype) -> torch.Tensor:
        torch.manual_seed(0)
        scheduler = SCHEDULERS[name].build(FLEX2)
        timesteps = pipeline_call(scheduler, 12, mu(1024, FLEX2))
        for timestep in timesteps[:2]:
            x = scheduler.step(-NOISE.bfloat16().to(dtype), timestep, NOISE.bfloat16().to(dtype))[0]
        return x

    assert torch.equal(step(torch.bfloat16), step(torch.float32).bfloat16())


@every
def test_only_stochastic_schedulers_touch_the_global_generator(choice: SchedulerChoice) -> None:
    scheduler = choice.build(FLEX2)

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return integrate(scheduler, pipeline_call(scheduler, 6, mu(1024, FLEX2)), NOISE)

    assert torch.equal(run(1), run(1))
    assert torch.equal(run(1), run(2)) is not choice.stochastic


@every
def test_a_scheduler_can_be_used_again_for_another_number_of_steps(choice: SchedulerChoice) -> None:
    used, fresh = choice.build(FLEX2), choice.build(FLEX2)
    integrate(used, pipeline_call(used, 7, mu(4096, FLEX2)), NOISE)
    results = []
    for scheduler in (used, fresh):
        torch.manual_seed(0)
        results.append(integrate(scheduler, pipeline_call(scheduler, 5, mu(1024, FLEX2)), NOISE))
    assert torch.equal(*results)


@every
def test_the_schedule_costs_the_transformer_calls_it_says(choice: SchedulerChoice) -> None:
    scheduler = choice.build(FLEX2)
    assert (
        len(pipeline_call(scheduler, 9, mu(1024, FLEX2)))
        == choice.evaluations(9)
        == len(scheduler.sigmas) - 1
    )


@every
def test_schedules_fall_from_one_to_zero(choice: SchedulerChoice) -> None:
    for steps in (1, 2, 3, 20, 150):
        for tokens in (16, 1024, 9216):
            sigmas = sigmas_of(choice, steps, tokens, FLEX2)
            assert sigmas.dtype == np.float32
            assert sigmas[0] == pytest.approx(1, abs=2e-6)
            assert sigmas[-1] == 0
            assert (np.diff(sigmas) <= 0).all()


@pytest.mark.parametrize("name", ON_REFERENCE_SIGMAS)
@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_solvers_follow_the_shift_of_the_reference(name: str, shift: Shift) -> None:
    reference = sigmas_of(SCHEDULERS["FlowMatchEuler"], 25, 1024, FLEX2, shift)
    np.testing.assert_allclose(
        sigmas_of(SCHEDULERS[name], 25, 1024, FLEX2, shift), reference, atol=2e-6, rtol=0
    )


def test_heun_visits_the_sigmas_of_the_reference_twice() -> None:
    reference = sigmas_of(SCHEDULERS["FlowMatchEuler"], 25, 1024, FLEX2)
    heun = sigmas_of(SCHEDULERS["FlowMatchHeun"], 25, 1024, FLEX2)
    assert np.array_equal(np.unique(heun), np.unique(reference))
    assert np.array_equal(heun[1:-1:2], heun[2:-1:2])


def test_a_shift_under_dynamic_shifting_has_the_reference_fingerprint() -> None:
    def fingerprint(shift: Shift) -> str:
        return sigmas_sha256(sigmas_of(SCHEDULERS["FlowMatchEuler"], 25, 4096, FLEX2, shift))

    assert fingerprint(Shift(shift=7.0)) == fingerprint(Shift())
    assert fingerprint(Shift(dynamic_shifting=False)) != fingerprint(Shift())


def test_the_fingerprint_is_that_of_the_scheduler_after_the_pipelines_call() -> None:
    choice = SCHEDULERS["FlowMatchEuler"]
    scheduler = choice.build(FLEX2)
    pipeline_call(scheduler, 25, mu(4096, FLEX2))
    recorded = hashlib.sha256(scheduler.sigmas.numpy().tobytes()).hexdigest()
    assert sigmas_sha256(sigmas_of(choice, 25, 4096, FLEX2)) == recorded


@every
def test_the_pipeline_finds_the_changed_shifts_in_the_config(choice: SchedulerChoice) -> None:
    shift = Shift(base_shift=0.2, max_shift=2.0)
    config = choice.build(FLEX2, shift).config
    seen = calculate_shift(
        2000, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    assert seen == mu(2000, FLEX2, shift=shift)


@given(tokens=st.integers(16, 65536))
def test_mu_is_what_the_pipeline_computes(tokens: int) -> None:
    assert mu(tokens, FLEX2) == calculate_shift(tokens, 256, 4096, 0.5, 1.15)


@pytest.mark.parametrize("choice", SCHEDULERS.values(), ids=lambda choice: choice.name)
def test_every_choice_says_what_it_is_in_one_line(choice: SchedulerChoice) -> None:
    assert hasattr(diffusers, choice.class_name)
    assert choice.explanation.endswith(".")
    assert "\n" not in choice.explanation
    assert choice.applicable is bool(choice.solver)


@pytest.mark.parametrize(
    "choice",
    [choice for choice in SCHEDULERS.values() if not choice.applicable],
    ids=lambda choice: choice.name,
)
def test_what_cannot_sample_a_flow_is_never_built(choice: SchedulerChoice) -> None:
    with pytest.raises(HarnessError, match=f"{choice.name} is not applicable: it") as caught:
        choice.build(FLEX2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("unipc", "UniPC"),
        ("flow_match_euler-KARRAS", "FlowMatchEuler-karras"),
        ("FlowMatchEulerDiscreteScheduler", "FlowMatchEuler"),
        ("UniPCMultistepScheduler", "UniPC"),
        ("DEISMultistep", "DEIS"),
        ("EulerDiscreteScheduler", "EulerDiscrete"),
        ("ddim", "DDIM"),
    ],
)
def test_names_are_found_however_they_are_written(name: str, found: str) -> None:
    assert find_scheduler(name).name == found


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("unipcc", "did you mean 'UniPC'"),
        ("dpm_multistep", "'DPMSolverMultistep'"),
        ("", "choose FlowMatchEuler"),
        ("dpmsolver", "did you mean 'DPMSolverMultistep'"),
        ("dpm++", "did you mean 'DPMSolverMultistep'"),
        ("flowmatch", "did you mean 'FlowMatchEuler'"),
        ("euler_a", "did you mean 'EulerAncestral'"),
        ("dpm++2m", "choose FlowMatchEuler"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(HarnessError, match="unknown scheduler") as caught:
        find_scheduler(name)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 0.0}, "shift: 0.0 is not a number above 0"),
        ({"shift": float("inf")}, "shift: inf is not a number above 0"),
        ({"max_shift": float("nan")}, "max_shift: nan is not within -10 to 10"),
    ],
)
def test_shifts_that_make_no_schedule_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        Shift(**changes)
    assert str(caught.value).startswith(message)


def test_no_steps_are_refused() -> None:
    with pytest.raises(HarnessError, match="0 steps"):
        sigmas_of(SCHEDULERS["FlowMatchEuler"], 0, 1024, FLEX2)


def test_a_linear_shift_by_a_negative_mu_is_refused() -> None:
    with pytest.raises(HarnessError, match="mu -1 makes no schedule for FlowMatchEuler-linear"):
        sigmas_of(
            SCHEDULERS["FlowMatchEuler-linear"], 25, 4096, FLEX2, Shift(base_shift=-1.0, max_shift=-1.0)
        )


def test_a_shift_beyond_fp32_is_refused() -> None:
    with pytest.raises(HarnessError, match="makes no schedule"):
        sigmas_of(SCHEDULERS["FlowMatchEuler"], 25, 65536, FLEX2, Shift(base_shift=-10.0, max_shift=10.0))
