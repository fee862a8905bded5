"""What the reference pipeline fixes for one model: defaults, limits, snapping, scheduler, channel layout.

Everything Flex.2-specific that is a number or a name stands here, so that another model is another spec.
Source: ``runcomfy-com/ai-toolkit-inference``, ``src/pipelines/flex2.py`` and ``schemas/request.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


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
        divisor: width and height are floored to a multiple of this, in pixels.
        latent_divisor: the trainer's own floor, in pixels (VAE factor 8 times 2×2 packing).
        scheduler: keyword arguments of ``FlowMatchEulerDiscreteScheduler``.
        vae_scale_factor: pixels along one side of a latent.
        in_channels: packed channels that the transformer takes (latent 64 + inpaint 68 + control 64).
        mask_channels: packed channels of the mask, within those of inpaint.
        text_encoders: components that encode prompts.
        tokenizer_files: files that a tokenizer's folder needs, one group of them; transformers makes up what
            is missing.
    """

    name: str
    hub_repo: str
    divisor: int
    latent_divisor: int
    in_channels: int
    out_channels: int
    latent_channels: int
    mask_channels: int
    max_sequence_length: int
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

    def snap(self, width: int, height: int) -> tuple[int, int]:
        """Return the size in pixels that the reference renders when asked for ``width`` × ``height``."""
        return width // self.divisor * self.divisor, height // self.divisor * self.divisor

    def trainer_edge(self, pixels: int) -> int:
        """Return the width or height in pixels that the trainer keeps: a multiple of 8, at least 64."""
        return max(64, pixels - pixels % 8)

    def preview_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) in pixels of the preview that the trainer makes when asked for these.

        What it keeps is floored once more to whole packed latents.
        """
        unit = self.latent_divisor
        return self.trainer_edge(width) // unit * unit, self.trainer_edge(height) // unit * unit


FLEX2 = ModelSpec(
    name="flex2",
    hub_repo="ostris/Flex.2-preview",
    divisor=32,
    latent_divisor=16,
    in_channels=196,
    out_channels=64,
    latent_channels=16,
    mask_channels=4,
    tokenizer_files={
        "tokenizer": (
            ("tokenizer_config.json", "vocab.json", "merges.txt"),
            ("tokenizer_config.json", "tokenizer.json"),
        ),
        "tokenizer_2": (("tokenizer.json",), ("spiece.model",)),
    },
    max_sequence_length=512,
    scheduler=MappingProxyType(
        {
            "base_image_seq_len": 256,
            "base_shift": 0.5,
            "max_image_seq_len": 4096,
            "max_shift": 1.15,
            "num_train_timesteps": 1000,
            "shift": 3.0,
            "use_dynamic_shifting": True,
        }
    ),
)
