"""One call of the pipeline, with the first latents, the seeds and the early stop that a request asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness.reference.load import LoadedPipeline
from harness.reference.noise import draw
from harness.reference.spec import FLEX2
from harness.renderer import OnStep, RenderRequest
from harness.variants.schedulers import find_scheduler

VAE_FACTOR = 8


class _StopEarly(Exception):  # noqa: N818
    """Leaves the pipeline with the image predicted so far."""

    def __init__(self, predicted: torch.Tensor) -> None:
        self.predicted = predicted


def call(
    loaded: LoadedPipeline, request: RenderRequest, width: int, height: int, on_step: OnStep | None
) -> np.ndarray[Any, Any]:
    """Return the image of ``request``, uint8, H×W×3, at ``width`` × ``height`` pixels.

    The pipeline holds the request's weights and scheduler already.
    """
    scheduler = find_scheduler(request.scheduler)
    if scheduler.stochastic:
        torch.manual_seed(request.seed)
    more: dict[str, Any] = {}
    if request.noise != "auto":
        more["latents"] = _first_latents(loaded, request, width, height)
    if request.max_sequence_length is not None:
        more["max_sequence_length"] = request.max_sequence_length
    with torch.inference_mode():
        try:
            output = loaded.pipe(
                prompt=request.prompt,
                negative_prompt=request.neg,
                width=width,
                height=height,
                num_inference_steps=request.sample_steps,
                guidance_scale=request.guidance_scale,
                generator=torch.Generator(request.generator).manual_seed(request.seed),
                callback_on_step_end=_callback(request, scheduler.evaluations(request.sample_steps), on_step),
                **more,
            )
            image = output.images[0]
        except _StopEarly as stop:
            image = _decode(loaded.pipe, stop.predicted, height, width)
    return np.asarray(image.convert("RGB"))


def _first_latents(loaded: LoadedPipeline, request: RenderRequest, width: int, height: int) -> torch.Tensor:
    """Return packed noise of the request's era, 1 × (H/16 · W/16) × 64, drawn unpacked."""
    shape = (1, FLEX2.latent_channels, height // VAE_FACTOR, width // VAE_FACTOR)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[loaded.dtype]
    assert request.noise != "auto"
    noise = draw(shape, request.seed, dtype, request.noise).to(loaded.device)
    packed: torch.Tensor = loaded.pipe._pack_latents(noise, *shape)
    return packed


def _callback(request: RenderRequest, total: int, on_step: OnStep | None) -> Any:
    before: list[torch.Tensor] = []

    def step_done(pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(index + 1, total)
        if request.stop_after is not None and index + 1 < total:
            if before and index + 1 >= request.stop_after:
                sigmas = pipe.scheduler.sigmas
                raise _StopEarly(_predict(before[-1], tensors["latents"], sigmas[index], sigmas[index + 1]))
            before[:] = [tensors["latents"]]
        return tensors

    return step_done


def _predict(x: torch.Tensor, x_next: torch.Tensor, sigma: Any, sigma_next: Any) -> torch.Tensor:
    """Follow the line through two latents on to sigma 0: the image that the last step pointed to."""
    if float(sigma) == float(sigma_next):
        return x_next
    velocity = (x_next.float() - x.float()) / (float(sigma_next) - float(sigma))
    return (x_next.float() - float(sigma_next) * velocity).to(x_next.dtype)


def _decode(pipe: Any, latents: torch.Tensor, height: int, width: int) -> Any:
    latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    latents = latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
    decoded = pipe.vae.decode(latents, return_dict=False)[0]
    image = pipe.image_processor.postprocess(decoded, output_type="pil")[0]
    pipe.maybe_free_model_hooks()
    return image
