"""What the reference pipeline fixes for one model: defaults, limits, snapping, scheduler, channel layout.

Everything that is one model's own and a number or a name stands here: another model is another ``ModelSpec``
in ``MODELS``. Source: ``runcomfy-com/ai-toolkit-inference``, ``src/pipelines/flex2.py``, ``flex1_alpha.py``
and ``schemas/request.py``; of the trainer: ``ostris/ai-toolkit``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.errors import HarnessError


@dataclass(frozen=True)
class Limits:
    """Inclusive bounds of what the reference's request schema accepts."""

    size: tuple[int, int] = (64, 4096)
    guidance_scale: tuple[float, float] = (0.0, 20.0)
    sample_steps: tuple[int, int] = (1, 150)
    network_multiplier: tuple[float, float] = (-2.0, 2.0)
    seed: tuple[int, int] = (-1, 2**64 - 1)


@dataclass(frozen=True)
class Defaults:
    """Settings that the reference fills in where a request is silent."""

    width: int = 1024
    height: int = 1024
    sample_steps: int = 25
    guidance_scale: float = 4.0
    seed: int = 42
    neg: str = ""
    network_multiplier: float = 1.0


@dataclass(frozen=True)
class ModelSpec:
    """One model as the reference runs it.

    Attributes:
        name: what cases, requests to the server and AI Toolkit's ``model.arch`` call it.
        label: what sentences call it.
        hub_repo: what the reference loads.
        pipeline: ``MODULE:CLASS`` of the pipeline that renders without remote code.
        hub_code: the reference runs the repository's own ``pipeline.py``.
        keeps_scheduler: the reference leaves the checkpoint's own scheduler; ``scheduler`` is what that is.
        flux_trainer: AI Toolkit renders its previews by the code for Flux models, not by code of its own.
        divisor: width and height are floored to a multiple of this, in pixels.
        latent_divisor: the trainer's own floor, in pixels (VAE factor 8 times 2×2 packing).
        scheduler: keyword arguments of ``FlowMatchEulerDiscreteScheduler``.
        vae_scale_factor: pixels along one side of a latent.
        in_channels: packed channels that the transformer takes; those beyond ``out_channels`` are conditions,
            and blank: 64 and 4 of an inpainting image and its mask, then 64 of a control image.
        comfy_unet: the transformer's file as its publisher names it for ComfyUI.
        file_names: regular expression that finds the model in how its files are called.
        text_encoders: components that encode prompts.
        tokenizer_files: files that a tokenizer's folder needs, one group of them; transformers makes up what
            is missing.
    """

    name: str
    label: str
    hub_repo: str
    pipeline: str
    divisor: int
    latent_divisor: int
    in_channels: int
    out_channels: int
    latent_channels: int
    max_sequence_length: int
    hub_code: bool = False
    keeps_scheduler: bool = False
    flux_trainer: bool = False
    comfy_unet: str = ""
    file_names: str = r"(?!)"
    vae_scale_factor: int = 8
    text_encoders: tuple[str, ...] = ("text_encoder", "text_encoder_2")
    tokenizer_files: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)
    limits: Limits = field(default_factory=Limits)
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Every component with weights, by the name of its folder."""
        return (*self.text_encoders, "transformer", "vae")

    @property
    def components(self) -> tuple[str, ...]:
        """Every component that a checkpoint must hold, by the name of its folder."""
        return ("scheduler", *self.models, "tokenizer", "tokenizer_2")

    @property
    def has_conditions(self) -> bool:
        """Whether the transformer takes channels beside the latents, which are blank here."""
        return self.in_channels > self.out_channels

    def snap(self, width: int, height: int) -> tuple[int, int]:
        """Return the size in pixels that the reference renders when asked for ``width`` × ``height``."""
        return width // self.divisor * self.divisor, height // self.divisor * self.divisor

    def tokens(self, width: int, height: int) -> int:
        """Return how many packed latents an image of ``width`` × ``height`` pixels has."""
        return width // self.latent_divisor * (height // self.latent_divisor)

    def preview_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) in pixels of the preview that the trainer makes when asked for these.

        What it keeps is floored once more to whole packed latents.
        """
        unit = self.latent_divisor
        return trainer_edge(width) // unit * unit, trainer_edge(height) // unit * unit


def trainer_edge(pixels: int) -> int:
    """Return the width or height in pixels that AI Toolkit keeps: a multiple of 8, at least 64."""
    return max(64, pixels - pixels % 8)


_FLUX_TOKENIZERS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "tokenizer": (
            ("tokenizer_config.json", "vocab.json", "merges.txt"),
            ("tokenizer_config.json", "tokenizer.json"),
        ),
        "tokenizer_2": (("tokenizer.json",), ("spiece.model",)),
    }
)

_FLUX_SCHEDULER: Mapping[str, Any] = MappingProxyType(
    {
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": 3.0,
        "use_dynamic_shifting": True,
    }
)

FLEX2 = ModelSpec(
    name="flex2",
    label="Flex.2",
    hub_repo="ostris/Flex.2-preview",
    pipeline="harness.pipeline.flex2:Flex2Pipeline",
    hub_code=True,
    comfy_unet="Flex.2-preview.safetensors",
    file_names=r"flex[._ -]?2",
    divisor=32,
    latent_divisor=16,
    in_channels=196,
    out_channels=64,
    latent_channels=16,
    tokenizer_files=_FLUX_TOKENIZERS,
    max_sequence_length=512,
    scheduler=_FLUX_SCHEDULER,
)

FLEX1 = ModelSpec(
    name="flex1",
    label="Flex.1-alpha",
    hub_repo="ostris/Flex.1-alpha",
    pipeline="diffusers:FluxPipeline",
    keeps_scheduler=True,
    flux_trainer=True,
    comfy_unet="Flex.1-alpha.safetensors",
    file_names=r"flex[._ -]?1",
    divisor=16,
    latent_divisor=16,
    in_channels=64,
    out_channels=64,
    latent_channels=16,
    tokenizer_files=_FLUX_TOKENIZERS,
    max_sequence_length=512,
    scheduler=_FLUX_SCHEDULER,
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in (FLEX2, FLEX1)}
"""Every model by its name; the first is that of a case that names none."""

DEFAULT_MODEL = next(iter(MODELS))


def spec_of(model: str) -> ModelSpec:
    """Return the spec of the model of that name.

    Raises:
        HarnessError: there is none.
    """
    if model not in MODELS:
        raise HarnessError(f"unknown model {model!r}", field="model", fix=f"choose {' or '.join(MODELS)}")
    return MODELS[model]


def known_model(model: str) -> str:
    """Return ``model`` where it is one; for validation.

    Raises:
        ValueError: it is none.
    """
    if model not in MODELS:
        raise ValueError(f"{model!r} is no model; choose {' or '.join(MODELS)}")
    return model
