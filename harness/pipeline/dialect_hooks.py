"""What a dialect changes while the pipeline runs: blanks, timesteps, latents, pixels.

The pipeline's code stays as it is, the hub's as well: its transformer is hooked, its scheduler's step is
replaced, and the picture is decoded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.errors import HarnessError
from harness.pipeline.comfy_kernels import comfy_kernels
from harness.pipeline.decoding import decode
from harness.pipeline.dialects import BLANK_LATENT, BLANK_MASK
from harness.pipeline.schedulers import scheduler_of
from harness.schema.render import RenderRequest

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch.utils.hooks import RemovableHandle

    from harness.metrics.images import Pixels


class UnroundedLatents:
    """Euler's steps in fp32 from fp32 latents; the pipeline is given rounded copies.

    The step is k-diffusion's ``sample_euler`` (MIT): to the predicted image, and along the line to it.

    Attributes:
        latents: packed, batch × (H/16 · W/16) × 64, fp32.
    """

    def __init__(self, scheduler: Any, first: torch.Tensor) -> None:
        self.latents = first.float()
        self._scheduler = scheduler
        self._index = 0

    def step(self, velocity: torch.Tensor, _timestep: Any, _sample: torch.Tensor, **_: Any) -> Any:
        """Take one step, as diffusers' ``step`` with ``return_dict=False``."""
        sigma, after = (float(each) for each in self._scheduler.sigmas[self._index : self._index + 2])
        predicted = self.latents - velocity.float() * sigma
        self.latents = self.latents + (self.latents - predicted) / sigma * (after - sigma)
        self._index += 1
        return (self.latents.to(velocity.dtype),)


@contextmanager
def apply_dialect(
    pipe: DiffusionPipeline, request: RenderRequest, first: torch.Tensor | None
) -> Iterator[UnroundedLatents | None]:
    """Let ``pipe`` render in the request's dialect; yields what keeps unrounded latents, where they are kept.

    Args:
        first: the first latents, packed; needed where latents are not rounded.

    Raises:
        HarnessError: latents of a solver other than Euler's cannot be kept unrounded, or the model has no
            conditions that could be blank.
    """
    dialect, kept = request.dialect, None
    handles: list[RemovableHandle] = []
    if dialect.latents == "fp32":
        assert first is not None
        if scheduler_of(request).solver != "euler":
            raise HarnessError("fp32 goes with Euler's steps alone", field="latents", fix="use bf16")
        kept = UnroundedLatents(pipe.scheduler, first)
        pipe.scheduler.step = kept.step
    if dialect.blanks != "zero" and not request.spec.has_conditions:
        raise HarnessError(f"{request.spec.label} has none", field="blanks", fix="use zero")
    if dialect.blanks != "zero":
        handles.append(pipe.transformer.register_forward_pre_hook(_normalised_blanks, with_kwargs=True))
    if dialect.timestep == "fp32":
        exact = _ExactTimesteps(pipe.scheduler)
        handles.append(pipe.transformer.register_forward_pre_hook(exact.count, with_kwargs=True))
        handles.append(pipe.transformer.time_text_embed.register_forward_pre_hook(exact.replace))
    kernels = comfy_kernels(pipe.transformer) if dialect.kernels == "comfyui" else nullcontext()
    try:
        with kernels:
            yield kept
    finally:
        for handle in handles:
            handle.remove()


def to_pixels(
    pipe: DiffusionPipeline, latents: torch.Tensor, height: int, width: int, request: RenderRequest
) -> Pixels:
    """Decode packed latents, batch × (H/16 · W/16) × 64, and return the first image, H×W×3, 0 to 255."""
    if request.dialect.rounding == "truncate":
        decoded = torch.as_tensor(decode(pipe, latents, height, width, "latent")[0]).float()
        levels = ((decoded + 1) / 2).clamp(0, 1).permute(1, 2, 0) * 255
        image = np.asarray(levels.to(torch.uint8).cpu())
    else:
        image = np.asarray(decode(pipe, latents, height, width)[0].convert("RGB"))
    pipe.maybe_free_model_hooks()
    return image


def _normalised_blanks(module: Any, args: Any, inputs: dict[str, Any]) -> Any:
    states = inputs["hidden_states"].clone()
    latents = module.config.out_channels or module.config.in_channels
    mask = module.config.in_channels - 3 * latents
    states[:, :, latents:] = BLANK_LATENT
    states[:, :, 2 * latents : 2 * latents + mask] = BLANK_MASK
    return args, {**inputs, "hidden_states": states}


class _ExactTimesteps:
    """Hands the timestep's embedding the scheduler's own timestep, which the pipeline has rounded by then."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._calls = 0

    def count(self, _module: Any, args: Any, inputs: dict[str, Any]) -> Any:
        """Count a call of the transformer."""
        self._calls += 1
        return args, inputs

    def replace(self, _module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the embedding's arguments with the timestep of this call, times 1000, in fp32."""
        rounded = args[0]
        exact = self._scheduler.timesteps[self._calls - 1].to(rounded.device, torch.float32)
        return (exact.expand(rounded.shape), *args[1:])
