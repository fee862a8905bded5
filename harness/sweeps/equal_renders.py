"""What a request really renders: variants with one fingerprint are one image, and words that say why."""

from __future__ import annotations

import dataclasses
from functools import cache

from harness.pipeline.schedulers import choose_scheduler
from harness.pipeline.sigma_schedules import sigmas_of, sigmas_sha256
from harness.schema.render import Dialect, RenderRequest, Shift
from harness.schema.spec import spec_of


@dataclasses.dataclass(frozen=True)
class Effective:
    """Everything about a request that reaches the pixels, the sigmas as a hash."""

    weights: tuple[str, ...]
    dtype: str
    lora: tuple[str, ...]
    prompt: tuple[str, int, str]
    size: tuple[int, int]
    noise: tuple[int, str, str]
    guidance_scale: float
    schedule: tuple[str, str]
    attention: str
    dialect: Dialect
    stop_after: int | None


def effective(request: RenderRequest, device: str) -> Effective:
    """Return what ``request`` renders on ``device``; the sigmas are computed here, on the CPU.

    Raises:
        HarnessError: the scheduler is not applicable, or makes no schedule of the request.
    """
    from harness.pipeline.load import reference_dtype
    from harness.pipeline.noise import torch_era

    dtype = request.dtype or reference_dtype(device)
    era = torch_era() if request.noise == "auto" else request.noise
    size = request.size()
    return Effective(
        weights=(
            request.model,
            str(request.base),
            request.pipeline,
            request.quantize,
            *request.layers_left_out,
            request.encoder_dtype or "",
        ),
        dtype=dtype,
        lora=_lora(request),
        prompt=(
            request.prompt,
            request.max_sequence_length or request.spec.max_sequence_length,
            request.t5_attention,
        ),
        size=size,
        noise=(request.seed, "any era" if dtype == "fp32" else era, request.generator),
        guidance_scale=request.guidance_scale,
        schedule=_schedule(
            request.model,
            request.scheduler,
            request.dialect.schedule,
            request.sample_steps,
            request.spec.tokens(*size),
            request.shift,
        ),
        attention=request.attention or "native",
        dialect=dataclasses.replace(request.dialect, schedule=None),
        stop_after=request.stop_after,
    )


def why_same(request: RenderRequest, other: RenderRequest) -> str:
    """Say in words why two requests of one fingerprint render the same image."""
    reasons = [
        words
        for fields, words in _REASONS
        if any(getattr(request, field) != getattr(other, field) for field in fields)
    ]
    if request.shift != other.shift and request.shift.dynamic_shifting is not False:
        reasons.insert(0, "a static shift does nothing while dynamic shifting is on")
    return "; ".join(reasons) or "it is the same value"


_REASONS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("scheduler", "shift", "sample_steps"), "solver and sigmas are the same"),
    (("noise", "dtype"), "the first latents are the same: fp32 has one era, and this torch draws its own"),
    (("divisor",), "both floor to the same size"),
    (("lora", "lora_mode"), "the LoRA reaches the weights in the same way"),
    (("attention",), "native is the kernel in use already"),
    (("max_sequence_length",), "it is the model's own length"),
)


def _lora(request: RenderRequest) -> tuple[str, ...]:
    mode = request.effective_lora_mode
    if request.lora is None or mode == "none" or request.lora.network_multiplier == 0:
        return ()
    return (request.lora.sha256, repr(request.lora.network_multiplier), mode)


@cache
def _schedule(
    model: str, scheduler: str, schedule: str | None, steps: int, tokens: int, shift: Shift
) -> tuple[str, str]:
    choice = choose_scheduler(scheduler, schedule)
    return choice.solver, sigmas_sha256(sigmas_of(choice, steps, tokens, spec_of(model), shift))
