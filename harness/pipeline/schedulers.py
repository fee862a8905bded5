"""The schedulers that a sweep can render a flow-matching model with, and those that it cannot."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.errors import HarnessError
from harness.pipeline.dialects import COMFY_SCHEDULES
from harness.schema.render import REFERENCE_SHIFT, RenderRequest, Shift
from harness.schema.spec import ModelSpec


@dataclass(frozen=True)
class SchedulerChoice:
    """One value of the scheduler axis.

    Attributes:
        name: what the user writes.
        explanation: one line that a report can print.
        class_name: diffusers' class.
        solver: the rule of a step. Two choices with one solver and equal sigmas render the same image,
            unless they are stochastic.
        options: keyword arguments of the class beyond the spec's.
        stochastic: ``step`` draws from torch's **global** generator, so seed it before the render.
        reason: why it cannot sample a flow-matching model; None where it can.
    """

    name: str
    explanation: str
    class_name: str
    solver: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    stochastic: bool = False
    reason: str | None = None

    @property
    def applicable(self) -> bool:
        """Whether it can sample a flow-matching model at all."""
        return self.reason is None

    def evaluations(self, steps: int) -> int:
        """Return how many transformer calls ``steps`` steps cost."""
        return 2 * steps - 1 if self.solver == "heun" else steps

    def build(self, spec: ModelSpec, shift: Shift = REFERENCE_SHIFT) -> Any:
        """Return a diffusers scheduler that the pipeline can be given. Imports diffusers.

        Raises:
            HarnessError: the choice is not applicable.
        """
        if self.reason is not None:
            raise HarnessError(
                f"{self.name} is not applicable: {self.reason}", field="scheduler", fix=f"choose {_names()}"
            )
        from harness.pipeline.solver_shims import construct

        return construct(self.class_name, {**shift.config(spec), **self.options})


def find_scheduler(name: str) -> SchedulerChoice:
    """Return the choice of that name or diffusers class; case, ``-``, ``_`` and ``Scheduler`` do not count.

    Raises:
        HarnessError: no such scheduler; names one that begins so, or the nearest that can sample a flow.
    """
    known: dict[str, SchedulerChoice] = {}
    for choice in SCHEDULERS.values():
        known.setdefault(_plain(choice.name), choice)
    for choice in SCHEDULERS.values():
        known.setdefault(_plain(choice.class_name), choice)
    if (plain := _plain(name)) in known:
        return known[plain]
    able = [each for each, choice in known.items() if choice.applicable]
    near = [each for each in known if plain and each.startswith(plain)]
    near = near or difflib.get_close_matches(plain, able, n=1)
    fix = f"did you mean {known[near[0]].name!r}?" if near else f"choose {_names()}"
    raise HarnessError(f"unknown scheduler {name!r}", field="scheduler", fix=fix)


def scheduler_of(request: RenderRequest) -> SchedulerChoice:
    """Return the scheduler of a request, as ``choose_scheduler`` does."""
    return choose_scheduler(request.scheduler, request.dialect.schedule)


def choose_scheduler(scheduler: str, schedule: str | None) -> SchedulerChoice:
    """Return the scheduler of that name, with the sigmas of ``schedule`` where one is given.

    Raises:
        HarnessError: no such scheduler or schedule, or a schedule with a solver other than Euler's.
    """
    choice = find_scheduler(scheduler)
    if schedule is None:
        return choice
    if schedule not in COMFY_SCHEDULES:
        fix = f"choose {', '.join(COMFY_SCHEDULES)}"
        raise HarnessError(f"unknown schedule {schedule!r}", field="schedule", fix=fix)
    if choice.name != _EULER_NAME:
        raise HarnessError(f"{schedule} goes with {_EULER_NAME}, not with {choice.name}", field="schedule")
    options = {"schedule": schedule.removeprefix("comfy-")}
    return SchedulerChoice(choice.name, COMFY_SCHEDULES[schedule], "ComfyEuler", "euler", options)


def _plain(name: str) -> str:
    letters = "".join(character for character in name.lower() if character.isalnum())
    return letters.removesuffix("scheduler").removesuffix("discrete")


def _names() -> str:
    return ", ".join(choice.name for choice in SCHEDULERS.values() if choice.applicable)


_EULER_NAME = "FlowMatchEuler"
_EULER = "FlowMatchEulerDiscreteScheduler"
_FLOW = MappingProxyType({"use_flow_sigmas": True, "prediction_type": "flow_prediction"})
_VP = "it samples a diffusion model, whose noise does not lie on flow matching's straight path"


def _euler(suffix: str, explanation: str, **options: Any) -> SchedulerChoice:
    return SchedulerChoice(f"{_EULER_NAME}{suffix}", explanation, _EULER, "euler", options)


def _solver(name: str, class_name: str, explanation: str, **options: Any) -> SchedulerChoice:
    return SchedulerChoice(name, explanation, class_name, name.lower(), {**_FLOW, **options})


def _not_applicable(name: str, class_name: str, explanation: str, reason: str = _VP) -> SchedulerChoice:
    return SchedulerChoice(name, explanation, class_name, reason=reason)


_CHOICES = (
    _euler("", "Euler steps along the flow: the reference, and what AI Toolkit previews with."),
    _euler("-karras", "Euler steps, sigmas spaced after Karras et al. 2022 (rho 7).", use_karras_sigmas=True),
    _euler("-exponential", "Euler steps, sigmas evenly spaced in their log.", use_exponential_sigmas=True),
    _euler("-beta", "Euler steps, sigmas at quantiles of a beta(0.6, 0.6).", use_beta_sigmas=True),
    _euler("-linear", "Euler steps, dynamic shift by mu instead of exp(mu).", time_shift_type="linear"),
    SchedulerChoice(
        "FlowMatchHeun",
        "Heun's second-order steps on the reference's sigmas: 2·steps - 1 transformer calls.",
        "FlowMatchHeunDiscreteScheduler",
        "heun",
    ),
    SchedulerChoice(
        "FlowMatchLCM",
        "Predicts the image and adds fresh noise at every step; made for distilled models.",
        "FlowMatchLCMScheduler",
        "lcm",
        stochastic=True,
    ),
    _solver("UniPC", "UniPCMultistepScheduler", "UniPC of second order; cuts timesteps to integers."),
    _solver(
        "DPMSolverMultistep", "DPMSolverMultistepScheduler", "DPM-Solver++ 2M on the reference's sigmas."
    ),
    _solver(
        "DPMSolverSinglestep",
        "DPMSolverSinglestepScheduler",
        "DPM-Solver++ 2S on the reference's sigmas.",
        lower_order_final=True,
    ),
    _solver("DEIS", "DEISMultistepScheduler", "DEIS of second order on the reference's sigmas, ended at 0."),
    SchedulerChoice(
        "SASolver",
        "SA-Solver on the reference's sigmas, ended at 0; adds noise between timesteps 200 and 800.",
        "SASolverScheduler",
        "sasolver",
        _FLOW,
        stochastic=True,
    ),
    _not_applicable(
        "FlowMatchEuler-inverted",
        _EULER,
        "Euler steps with invert_sigmas.",
        "its sigmas run from 0 to 1, from image to noise; made for Mochi, whose time runs the other way",
    ),
    _not_applicable("DDIM", "DDIMScheduler", "Denoising diffusion implicit models."),
    _not_applicable("DDPM", "DDPMScheduler", "Denoising diffusion probabilistic models."),
    _not_applicable("PNDM", "PNDMScheduler", "Pseudo numerical methods for diffusion."),
    _not_applicable("LMS", "LMSDiscreteScheduler", "Linear multistep on a diffusion model."),
    _not_applicable("LCM", "LCMScheduler", "Latent consistency models; see FlowMatchLCM."),
    _not_applicable("Heun", "HeunDiscreteScheduler", "Heun on a diffusion model; see FlowMatchHeun."),
    _not_applicable("KDPM2", "KDPM2DiscreteScheduler", "DPM2 of k-diffusion."),
    _not_applicable("EulerAncestral", "EulerAncestralDiscreteScheduler", "Ancestral Euler of k-diffusion."),
    _not_applicable("TCD", "TCDScheduler", "Trajectory consistency distillation."),
    _not_applicable("EulerDiscrete", "EulerDiscreteScheduler", "Euler of k-diffusion; see FlowMatchEuler."),
    _not_applicable("EDMEuler", "EDMEulerScheduler", "Euler on EDM's preconditioned diffusion model."),
)

SCHEDULERS: Mapping[str, SchedulerChoice] = MappingProxyType({choice.name: choice for choice in _CHOICES})
