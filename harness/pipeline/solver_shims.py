"""Diffusers' solvers behind the call that the Flex.2 pipeline makes.

The pipeline calls ``set_timesteps(sigmas=linspace(1, 1/steps, steps), mu=…)``. Most solvers refuse that, and
some would stop short of sigma 0. Here each takes the reference's schedule, so that only the solver differs.
Importing this module imports diffusers.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from harness._util.lean_imports import lean_imports
from harness.pipeline.comfy_schedules import comfy_sigmas

with lean_imports():  # a sweep comes here before a pipeline is made
    import diffusers
    from diffusers import (
        DEISMultistepScheduler,
        DPMSolverMultistepScheduler,
        DPMSolverSinglestepScheduler,
        FlowMatchEulerDiscreteScheduler,
        FlowMatchHeunDiscreteScheduler,
        SASolverScheduler,
        SchedulerMixin,
    )
    from diffusers.schedulers.scheduling_utils import SchedulerOutput

CLOSEST_TO_ONE = 1 - 1e-6


@contextmanager
def _numpy_1_spelling() -> Iterator[None]:
    """Let diffusers ask numpy for arrays of tensors in a spelling that numpy 2 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array", category=DeprecationWarning)
        yield


class _ReferenceSchedule(SchedulerMixin):  # type: ignore[misc]
    """A scheduler that follows the reference's sigmas and timesteps."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Set the schedule that ``FlowMatchEulerDiscreteScheduler`` makes of the same arguments.

        Args:
            sigmas: noise levels before shifting, from 1 down; evenly spaced where absent.
            mu: log of the shift, used where the config says ``use_dynamic_shifting``.
        """
        steps = num_inference_steps if sigmas is None else len(sigmas)
        if steps is None:
            raise ValueError("give num_inference_steps or sigmas")
        reference = _construct(FlowMatchEulerDiscreteScheduler, self.config)
        reference.set_timesteps(
            sigmas=np.linspace(1.0, 1 / steps, steps) if sigmas is None else sigmas, mu=mu, device=device
        )
        with _numpy_1_spelling():
            super().set_timesteps(steps, device=device)
        self._follow(reference.sigmas.cpu(), reference.timesteps)

    def _follow(self, sigmas: torch.Tensor, timesteps: torch.Tensor) -> None:
        raise NotImplementedError


class FlowHeun(_ReferenceSchedule, FlowMatchHeunDiscreteScheduler):  # type: ignore[misc]
    """Heun's method: two transformer calls a step, one for the last."""

    def _follow(self, sigmas: torch.Tensor, timesteps: torch.Tensor) -> None:
        self.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        self.timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])


class _FlowSolver(_ReferenceSchedule):
    """A log-SNR solver on a schedule from sigma 1 to 0, where the log-SNR is infinite.

    These solvers are of first order in their first and last step, and there equal Euler's step of the flow.
    Euler's formula gives that step without cancellation at sigma 1 and without 0·∞ at sigma 0. Sigma 1 is
    moved down by 1e-6, because the second-order step after the first looks back at its log-SNR.
    """

    def _follow(self, sigmas: torch.Tensor, timesteps: torch.Tensor) -> None:
        self.sigmas = sigmas.clamp(max=CLOSEST_TO_ONE)
        self.timesteps = timesteps

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, return_dict: bool = True
    ) -> Any:
        """Take one step in fp32 and return the sample in the dtype of ``model_output``."""
        if self.step_index is None:
            self._init_step_index(timestep)
        index, velocity, sample = self.step_index, model_output.float(), sample.float()
        sigma, sigma_next = self.sigmas[index], self.sigmas[index + 1]
        if sigma_next > 0:
            with _numpy_1_spelling():
                result = super().step(velocity, timestep, sample, return_dict=False)[0]
        else:
            self._step_index += 1
        if index == 0 or sigma_next == 0:
            result = sample + (sigma_next - sigma) * velocity
        result = result.to(model_output.dtype)
        return SchedulerOutput(result) if return_dict else (result,)


class FlowDPMSolverMultistep(_FlowSolver, DPMSolverMultistepScheduler):  # type: ignore[misc]
    """DPM-Solver++ (2M)."""


class FlowDPMSolverSinglestep(_FlowSolver, DPMSolverSinglestepScheduler):  # type: ignore[misc]
    """DPM-Solver++ (2S)."""


class FlowDEIS(_FlowSolver, DEISMultistepScheduler):  # type: ignore[misc]
    """DEIS (log-rho, second order); diffusers' own schedule stops at its last non-zero sigma."""


class FlowSASolver(_FlowSolver, SASolverScheduler):  # type: ignore[misc]
    """SA-Solver, stochastic between timesteps 200 and 800 as diffusers has it by default."""


class ComfyEuler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """Euler's steps on the sigmas of ComfyUI's schedule ``config.schedule``."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Set ComfyUI's sigmas; of ``sigmas``, the reference's, only their number counts.

        Args:
            mu: log of the shift, used where the config says ``use_dynamic_shifting``.
        """
        steps = num_inference_steps if sigmas is None else len(sigmas)
        if steps is None:
            raise ValueError("give num_inference_steps or sigmas")
        if mu is None or not self.config.use_dynamic_shifting:
            mu = math.log(self.config.shift)
        self.sigmas = comfy_sigmas(self.config.schedule, steps, float(mu))
        self.timesteps = (self.sigmas[:-1] * self.config.num_train_timesteps).to(device)
        self.num_inference_steps = len(self.timesteps)
        self._step_index = self._begin_index = None


SHIMS: Mapping[str, Any] = {
    "ComfyEuler": ComfyEuler,
    "FlowMatchHeunDiscreteScheduler": FlowHeun,
    "DPMSolverMultistepScheduler": FlowDPMSolverMultistep,
    "DPMSolverSinglestepScheduler": FlowDPMSolverSinglestep,
    "DEISMultistepScheduler": FlowDEIS,
    "SASolverScheduler": FlowSASolver,
}


def construct(class_name: str, config: Mapping[str, Any]) -> Any:
    """Return a scheduler of diffusers' class ``class_name``, or of its shim where it needs one.

    Args:
        config: the reference's scheduler config with changes. What the class does not know is kept in its
            ``config`` all the same, because the pipeline reads ``base_shift`` and ``max_shift`` there.
    """
    return _construct(SHIMS.get(class_name) or getattr(diffusers, class_name), config)


def _construct(cls: Any, config: Mapping[str, Any]) -> Any:
    known = inspect.signature(cls.__init__).parameters
    wanted = {**config, "flow_shift": config["shift"]} if "flow_shift" in known else dict(config)
    scheduler = cls(**{key: value for key, value in wanted.items() if key in known})
    scheduler.register_to_config(**{key: value for key, value in wanted.items() if key not in known})
    return scheduler
