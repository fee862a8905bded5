"""Run the pipeline once, with the first latents, the seeds and the early stop that a request asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from harness.pipeline.dialect_hooks import apply_dialect, to_pixels
from harness.pipeline.load import LoadedPipeline, torch_dtype
from harness.pipeline.noise import draw
from harness.pipeline.schedulers import scheduler_of
from harness.schema.quantizers import quantizer_of
from harness.schema.render import OnStep, RenderRequest
from harness.schema.versions import Era

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL.Image import Image

    from harness.metrics.images import Pixels
    from harness.metrics.latents import Latents


NOT_FINITE = "the decoder gave values that are not finite; they are black"


class _StopEarly(Exception):  # noqa: N818
    """Leaves the pipeline with the latents predicted at the last step made."""

    def __init__(self, predicted: torch.Tensor) -> None:
        self.predicted = predicted


class Inference(NamedTuple):
    """An image (uint8, H×W×3), the packed latents it was decoded from, and their hash in their own dtype."""

    image: Pixels
    latents: Latents
    latents_sha256: str
    warnings: tuple[str, ...] = ()


def infer(loaded: LoadedPipeline, request: RenderRequest, on_step: OnStep | None) -> Inference:
    """Return the image of ``request``; of a batch, the first.

    The pipeline holds the request's weights and scheduler already.

    Raises:
        CheckpointError: the image is of one colour or was not finite, and a weight is not.
    """
    faults: list[str] = []
    with np.errstate(invalid="call", call=lambda kind, _: faults.append(kind)):
        found = _infer(loaded, request, on_step)
    if faults or np.ptp(found.image) == 0:
        loaded.check_finite()
    return found._replace(warnings=(NOT_FINITE,)) if faults else found


def _infer(loaded: LoadedPipeline, request: RenderRequest, on_step: OnStep | None) -> Inference:
    width, height = request.size()
    scheduler = scheduler_of(request)
    if scheduler.stochastic:
        torch.manual_seed(request.seed)
    optional: dict[str, Any] = {}
    unrounded = request.dialect.latents == "fp32"
    if request.noise != "auto" or unrounded:
        optional["latents"] = _first_latents(loaded, request, width, height)
    if request.max_sequence_length is not None:
        optional["max_sequence_length"] = request.max_sequence_length
    generators = [torch.Generator(request.generator).manual_seed(seed) for seed in _seeds(request)]
    steps = _Steps(request, scheduler.evaluations(request.sample_steps), on_step)
    if decodes := unrounded or request.dialect.rounding != "round":
        optional["output_type"] = "latent"
    pipe = loaded.pipe
    with _without_gradients(request), apply_dialect(pipe, request, optional.get("latents")) as kept:
        try:
            output = pipe(
                prompt=[request.prompt] * request.batch if request.batch > 1 else request.prompt,
                negative_prompt=request.neg,
                width=width,
                height=height,
                num_inference_steps=request.sample_steps,
                guidance_scale=request.guidance_scale,
                generator=generators if request.batch > 1 else generators[0],
                callback_on_step_end=steps,
                **optional,
            )
            assert steps.latents is not None
            last = kept.latents if kept is not None else steps.latents
            image = to_pixels(pipe, last, height, width, request) if decodes else _pixels(output.images[0])
        except _StopEarly as stop:
            steps.latents = stop.predicted
            image = to_pixels(pipe, stop.predicted, height, width, request)
    assert steps.latents is not None
    latents = steps.latents[:1]
    return Inference(image, latents[0].to(torch.float16).cpu().numpy(), _sha256(latents))


def _without_gradients(request: RenderRequest) -> AbstractContextManager[Any]:
    """Inference mode, which optimum-quanto's weights of fewer than 8 bits refuse: its issue 304."""
    quantizer, _ = quantizer_of(request.quantize)
    return torch.no_grad() if quantizer in {"qint4", "qint2"} else torch.inference_mode()


def _pixels(image: Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def _seeds(request: RenderRequest) -> list[int]:
    """Return the seed of every image of the batch: the request's own, then its neighbours, all in range."""
    return [request.seed ^ index for index in range(request.batch)]


def _first_latents(loaded: LoadedPipeline, request: RenderRequest, width: int, height: int) -> torch.Tensor:
    """Return packed noise of the request's era, batch × (H/16 · W/16) × 64, drawn unpacked.

    Latents that are not rounded begin with noise that is not; the legacy era drew it in the model's dtype.
    """
    factor = loaded.spec.vae_scale_factor
    shape = (1, loaded.spec.latent_channels, height // factor, width // factor)
    dtype = torch_dtype(loaded.dtype)
    if request.dialect.latents == "fp32" and request.noise != "legacy":
        dtype = torch.float32
    era: Era = "current" if request.noise == "auto" else request.noise
    noise = torch.cat([_draw(shape, seed, dtype, era, request.generator) for seed in _seeds(request)])
    packed: torch.Tensor = loaded.pipe._pack_latents(noise.to(loaded.device), request.batch, *shape[1:])
    return packed


def _draw(shape: Sequence[int], seed: int, dtype: torch.dtype, era: Era, device: str) -> torch.Tensor:
    """Draw on the CPU as torch of that era does, or on the GPU as the installed one does."""
    if device == "cpu":
        return draw(shape, seed, dtype, era)
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device, dtype=dtype)


class _Steps:
    """diffusers' ``callback_on_step_end``: reports steps, keeps the newest latents, stops where asked."""

    def __init__(self, request: RenderRequest, total: int, on_step: OnStep | None) -> None:
        self._stop_after = request.stop_after
        self._total = total
        self._on_step = on_step
        self.latents: torch.Tensor | None = None

    def __call__(
        self, pipe: DiffusionPipeline, index: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        done, before, now = index + 1, self.latents, tensors["latents"]
        if self._on_step is not None:
            self._on_step(done, self._total)
        if self._stop_after is not None and before is not None and self._stop_after <= done < self._total:
            sigmas = pipe.scheduler.sigmas
            raise _StopEarly(_predict(before, now, sigmas[index], sigmas[index + 1]))
        self.latents = now
        return tensors


def _sha256(latents: torch.Tensor) -> str:
    """Hash dtype, shape and every byte of packed latents, 1 × (H/16 · W/16) × 64."""
    head = f"{str(latents.dtype).removeprefix('torch.')} {'x'.join(map(str, latents.shape))} "
    data = latents.cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(head.encode() + data).hexdigest()


def _predict(x: torch.Tensor, x_next: torch.Tensor, sigma: Any, sigma_next: Any) -> torch.Tensor:
    """Extend the line through two latents to sigma 0: the image that the last step pointed to."""
    if float(sigma) == float(sigma_next):
        return x_next
    velocity = (x_next.float() - x.float()) / (float(sigma_next) - float(sigma))
    return (x_next.float() - float(sigma_next) * velocity).to(x_next.dtype)
