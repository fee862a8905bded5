"""A typed view of ``sample`` and ``first_sample`` in a training job's config."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from harness.importers.aitoolkit.config_fields import (
    Edge,
    Flag,
    Multiplier,
    Negative,
    Seed,
    View,
    as_negative,
)
from harness.schema.trainer_versions import SAMPLE_OBJECTS


class SampleEntry(View):
    """One entry of ``sample.samples``; None takes the value of ``sample``."""

    prompt: str | None = None
    width: Edge | None = None
    height: Edge | None = None
    neg: Annotated[str | None, BeforeValidator(as_negative)] = None
    seed: Seed | None = None
    guidance_scale: float | None = None
    sample_steps: int | None = None
    network_multiplier: Multiplier | None = None
    ctrl_img: str | None = None
    ctrl_img_1: str | None = None
    ctrl_img_2: str | None = None
    ctrl_img_3: str | None = None


class SampleConfig(View):
    """``sample`` or ``first_sample``; sizes in pixels."""

    sampler: str | None = None
    format: str | None = "jpg"
    sample_every: int | None = 100
    width: Edge = 512
    height: Edge = 512
    neg: Negative = ""
    seed: Seed = 0
    walk_seed: Flag = False
    guidance_scale: float = 7.0
    sample_steps: int = 20
    network_multiplier: Multiplier = 1.0
    prompts: list[str | None] = Field(default_factory=list)
    samples: list[SampleEntry] | None = None

    def entries(self, software: str | None = None) -> list[SampleEntry]:
        """Return ``samples``, which win where the trainer knows them, or ``prompts`` in the same form."""
        prompts = [SampleEntry(prompt=text) for text in self.prompts if text is not None]
        if self.samples is None or (prompts and SAMPLE_OBJECTS.holds(software) is False):
            return prompts
        return self.samples
