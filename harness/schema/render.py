"""The seam between planning and a system under test.

A renderer turns a fully resolved request into an image and says what it really rendered. The reference
pipeline is one; another model, an HTTP server or another tool is another subclass of ``Renderer``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.errors import HarnessError
from harness.schema.quantizers import QUANTIZERS, STOCHASTIC, quantizer_of
from harness.schema.spec import DEFAULT_MODEL, ModelSpec, spec_of
from harness.schema.versions import T5Attention

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from harness.metrics.codec import Codec
    from harness.metrics.scores import Scores
    from harness.schema.base import Base
    from harness.schema.case import EncoderDtype, Noise, Quantize
    from harness.schema.result import Rendered

Device = Literal["auto", "cpu", "cuda"]
PipelineCode = Literal["hub", "builtin"]
Offload = Literal["auto", "none", "model", "sequential"]
EngineName = Literal["auto", "eager", "exact"]
Dtype = Literal["bf16", "fp16", "fp32"]
LoraMode = Literal["fused", "adapter", "peft", "fp32", "merged", "stochastic", "unpacked", "none"]
Blanks = Literal["zero", "flextools"]
Precision = Literal["bf16", "fp32"]
Rounding = Literal["round", "truncate"]
Kernels = Literal["diffusers", "comfyui"]
Unpacking = Literal["fp16", "bf16", "fp32"]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Shift:
    """Changes to how the reference shifts its sigmas; None keeps the reference's value.

    Attributes:
        shift: static shift, above 0; does nothing while dynamic shifting is on.
        dynamic_shifting: shift by exp(mu), mu linear in the image's token count, instead of by ``shift``.
        base_shift: mu at the spec's smallest token count, -10 to 10.
        max_shift: mu at the spec's largest token count, -10 to 10.

    Raises:
        HarnessError: a value is out of its range.
    """

    shift: float | None = None
    dynamic_shifting: bool | None = None
    base_shift: float | None = None
    max_shift: float | None = None

    def __post_init__(self) -> None:
        if self.shift is not None and not 0 < self.shift < math.inf:
            raise HarnessError(f"{self.shift} is not a number above 0", field="shift", fix="1 means no shift")
        for name in ("base_shift", "max_shift"):
            value = getattr(self, name)
            if value is not None and not -10 <= value <= 10:
                raise HarnessError(
                    f"{value} is not within -10 to 10", field=name, fix="mu is about 1 at 1024²"
                )

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        """Return the spec's scheduler config with these changes."""
        changes = {
            "shift": self.shift,
            "use_dynamic_shifting": self.dynamic_shifting,
            "base_shift": self.base_shift,
            "max_shift": self.max_shift,
        }
        return {**spec.scheduler, **{key: value for key, value in changes.items() if value is not None}}


REFERENCE_SHIFT = Shift()


@dataclass(frozen=True)
class Dialect:
    """How a tool renders beyond its settings; the defaults are the reference's way.

    Attributes:
        schedule: where the sigmas of Euler's steps lie, a name in ``dialects.COMFY_SCHEDULES``; None is the
            scheduler's own.
        blanks: what stands for absent control and inpainting images: ``zero``, with a mask of ones, or both
            as ComfyUI-FlexTools normalises them.
        latents: ``bf16`` rounds the latents to the model's dtype after each step, ``fp32`` does not; the
            first ones are then drawn in fp32 too.
        timestep: ``bf16`` rounds the timestep to the model's dtype, ``fp32`` does not.
        rounding: how pixels become 8 bits: ``round`` or ``truncate``.
        kernels: whose arithmetic the transformer has, as far as their roundings differ: ``diffusers`` or
            ``comfyui``.
        unpacking: dtype that the weights of a GGUF base are unpacked in, each step rounded to it; then they
            are rounded to the model's.
    """

    schedule: str | None = None
    blanks: Blanks = "zero"
    latents: Precision = "bf16"
    timestep: Precision = "bf16"
    rounding: Rounding = "round"
    kernels: Kernels = "diffusers"
    unpacking: Unpacking = "fp16"

    def changes(self) -> dict[str, str]:
        """Return the fields that differ from the reference's way."""
        return {
            name: value for name, value in asdict(self).items() if value != getattr(REFERENCE_DIALECT, name)
        }


REFERENCE_DIALECT = Dialect()


@dataclass(frozen=True)
class Lora:
    """LoRA weights and the scale they are applied at."""

    file: Path
    sha256: str
    network_multiplier: float


def lora_modes(quantizer: str | None) -> frozenset[str]:
    """Return how a LoRA can be applied to a transformer in ``quantizer``, or to an unquantized one (None)."""
    if quantizer is None:
        return frozenset({"fused", "adapter", "peft", "fp32", "none"})
    if not QUANTIZERS[quantizer].keeps_layers:
        return frozenset({"adapter", "none"})
    random = {"stochastic"} if quantizer in STOCHASTIC else set()
    later = {"unpacked"} if QUANTIZERS[quantizer].is_gguf else set()
    return frozenset({"adapter", "peft", "fp32", "merged", "none", *random, *later})


@dataclass(frozen=True)
class RenderRequest:
    """Everything that decides a re-run's pixels, apart from the machine.

    Attributes:
        base: the checkpoint; a relative ``path`` has been made absolute.
        dtype: floating-point type of weights and latents, or None for the device's own rule.
        width: pixels as asked for; the renderer snaps it.
        height: pixels as asked for; the renderer snaps it.
        scheduler: a name in ``harness.pipeline.schedulers.SCHEDULERS``.
        noise: era of the first latents; ``auto`` lets the installed torch draw them.
        generator: where the first latents are drawn, ``cpu`` or ``cuda``.
        lora_mode: ``fused`` by PEFT as the reference does; live beside the weights, in fp32 as the trainer's
            ``adapter`` beside quantized ones, or in the model's dtype as ``peft`` has an adapter that is not
            fused; merged in ``fp32`` and rounded once, before a transformer is quantized; ``merged`` into
            quantized weights, which are rounded to nearest again, or at random (``stochastic``); or ``none``.
            None chooses ``adapter`` for a quantized transformer, else ``fused``.
        attention: diffusers' attention backend; None keeps the active one.
        max_sequence_length: T5 tokens; None is the model's own.
        t5_attention: kernel of T5's attention; the reference's transformers, 4.57, has ``eager`` alone.
        divisor: width and height are floored to a multiple of it, pixels; None is the reference's.
        encoder_dtype: ``fp16`` casts every weight of T5; None leaves it as transformers loads it.
        quantize_exclude: patterns of transformer layers that a quantizer of the trainer leaves as they are.
        stop_after: end after so many steps and return the image predicted there; None runs to the end.
        batch: images drawn in one call, the others from neighbouring seeds; the first is the re-run.
        dialect: what another tool does differently, whatever its settings.
        model: a name in ``schema.spec.MODELS``.
    """

    base: Base
    pipeline: PipelineCode
    dtype: Dtype | None
    lora: Lora | None
    prompt: str
    neg: str
    width: int
    height: int
    seed: int
    sample_steps: int
    guidance_scale: float
    scheduler: str = "FlowMatchEuler"
    shift: Shift = REFERENCE_SHIFT
    noise: Noise = "auto"
    generator: Literal["cpu", "cuda"] = "cpu"
    lora_mode: LoraMode | None = None
    attention: str | None = None
    max_sequence_length: int | None = None
    t5_attention: T5Attention = "eager"
    divisor: int | None = None
    encoder_dtype: EncoderDtype | None = None
    quantize: Quantize = "none"
    quantize_exclude: tuple[str, ...] = ()
    stop_after: int | None = None
    batch: int = 1
    dialect: Dialect = REFERENCE_DIALECT
    model: str = DEFAULT_MODEL

    @property
    def spec(self) -> ModelSpec:
        """What the reference fixes for the request's model."""
        return spec_of(self.model)

    def size(self) -> tuple[int, int]:
        """Return the rendered size in pixels: floored to the divisor, then to whole packed latents."""
        spec = self.spec
        if self.divisor is None:
            return spec.snap(self.width, self.height)
        floored = (edge // self.divisor * self.divisor for edge in (self.width, self.height))
        width, height = (edge // spec.latent_divisor * spec.latent_divisor for edge in floored)
        return width, height

    @property
    def pixels(self) -> int:
        """Of one call, all images of the batch."""
        width, height = self.size()
        return width * height * self.batch

    @property
    def effective_lora_mode(self) -> LoraMode:
        """How the LoRA is applied once ``lora_mode`` None has chosen.

        Raises:
            HarnessError: the mode is none of ``lora_modes``.
        """
        if self.lora is None or self.lora_mode == "none":
            return "none"
        mode = self.lora_mode or ("adapter" if self.transformer_quantizer else "fused")
        allowed = lora_modes(self.transformer_quantizer)
        if mode in allowed:
            return mode
        found = f"{mode}: a LoRA cannot be merged into a quantized transformer so"
        fix = "use adapter, as the trainer does"
        if self.transformer_quantizer is None:
            found, fix = f"{mode}: the transformer is not quantized", "set quantize, or use fused"
        raise HarnessError(found, field="lora_mode", fix=fix)

    @property
    def transformer_quantizer(self) -> str | None:
        """Name of the quantizer of the transformer; None where it is not quantized."""
        name, parts = quantizer_of(self.quantize)
        return name if "transformer" in parts else None

    @property
    def layers_left_out(self) -> tuple[str, ...]:
        """Patterns of the transformer's layers that stay unquantized; inference tools leave out none."""
        name = self.transformer_quantizer
        return self.quantize_exclude if name is not None and QUANTIZERS[name].side == "trainer" else ()

    @property
    def unpacking(self) -> Unpacking:
        """Dtype that the transformer's weights are unpacked in; the default where they are no GGUF's."""
        name = self.transformer_quantizer
        return self.dialect.unpacking if name is not None and QUANTIZERS[name].is_gguf else "fp16"

    @property
    def weights_key(self) -> tuple[str, ...]:
        """Requests with the same key share loaded and fused weights; sorting by it changes weights rarely."""
        lora = (self.lora.sha256, repr(self.lora.network_multiplier)) if self.lora else ("", "")
        loaded = (self.model, str(self.base), self.pipeline, self.dtype or "", self.encoder_dtype or "")
        stored = (self.quantize, self.unpacking, *self.layers_left_out)
        return (*loaded, *stored, *lora, self.effective_lora_mode)


@dataclass(frozen=True)
class Render:
    """A finished render.

    Attributes:
        image: uint8, H×W×3.
        seconds: where the time went.
        latents: packed, before decoding, (H/16 · W/16) × 64; None where they are not known.
        latents_sha256: hash of the latents before they were decoded; None for a system that shows none.
        warnings: what did not go as asked for, in words; the image is right all the same.
        key: hash of everything that decided the pixels; None where that is not known.
        taken_from: name of the run that made the image, where it was not made again.
        codec: how a system that returns files had encoded the image; None where it was never encoded.
        against_reference: scores against the reference's render of the request, encoded by ``codec``.
    """

    image: NDArray[np.uint8]
    rendered: Rendered
    seconds: dict[str, float]
    latents: NDArray[np.float16] | None = None
    latents_sha256: str | None = None
    warnings: tuple[str, ...] = ()
    key: str | None = None
    taken_from: str | None = None
    codec: Codec | None = None
    against_reference: Scores | None = None


class Renderer(Protocol):
    """A system under test; derive from it and define ``render`` and ``close``."""

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; ``on_step(done, total)`` is called after every denoising step."""
        ...

    def close(self) -> None:
        """Free the memory that the renderer holds."""
        ...

    def expect(self, requests: Sequence[RenderRequest]) -> None:
        """Hear which renders are to come; what takes long to begin pays only for many."""
        return

    def trajectories(self) -> TrajectoryRenderer | None:
        """Return what records and estimates renders here, or None where the system cannot."""
        return None


class Trajectory(Protocol):
    """What the model predicted along one render."""

    def at(self, sigma: float) -> torch.Tensor:
        """Return the velocity at noise level ``sigma``, 0 to 1, interpolated between recorded ones."""
        ...


class TrajectoryRenderer(Protocol):
    """Estimates renders from what the model predicted along another, with few model calls or none."""

    def record(self, request: RenderRequest) -> tuple[Render, Trajectory]:
        """Render as ``Renderer.render`` does, and return the trajectory beside the render."""
        ...

    def estimate(self, request: RenderRequest, trajectory: Trajectory) -> tuple[Render, int]:
        """Return an estimate of the request's render, and the number of model calls that it took.

        Another schedule follows the trajectory alone. A request with ``stop_after`` calls the model once, for
        its last step.
        """
        ...
