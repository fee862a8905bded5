"""The parts of a case: its preview, its LoRA, its settings, and what the job recorded of the training."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from harness.schema.fields import InnerPath, Sha256, Strict
from harness.schema.spec import Defaults, Limits

_DEFAULTS = Defaults()


class OlderConfig(StrEnum):
    """How it is known that a preview is older than the config that its settings are taken from."""

    TIME = "time"
    COUNT = "count"


class Preview(Strict):
    """The image that AI Toolkit wrote, as it lies on disk."""

    file: InnerPath
    sha256: Sha256
    width: int = Field(gt=0, description="Pixels, read from the image itself.")
    height: int = Field(gt=0, description="Pixels, read from the image itself.")
    step: int | None = Field(None, ge=0, description="Training step at which it was rendered.")
    index: int | None = Field(None, ge=0, description="Position in the job's list of samples.")
    older_config: OlderConfig | None = Field(
        None,
        strict=False,
        description="The config was rewritten after this preview: its settings may have been others. Seen by "
        "file 'time', or proved by the 'count' of a step's previews. No drift is judged.",
    )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.width, self.height


class LoraRef(Strict):
    """The LoRA weights that the preview saw."""

    file: InnerPath
    sha256: Sha256
    network_multiplier: float = _DEFAULTS.network_multiplier


class Neighbour(Strict):
    """A saved checkpoint near a preview whose own is gone."""

    step: int = Field(ge=0, description="Training step of the checkpoint; 0 is the base alone.")
    lora: LoraRef | None = None


class SampleSettings(Strict):
    """The sample settings, resolved: trigger replaced, flags applied, seed rule worked out."""

    prompt: str
    neg: str = _DEFAULTS.neg
    width: int = Field(_DEFAULTS.width, description="Pixels, as asked for; the render snaps it.")
    height: int = Field(_DEFAULTS.height, description="Pixels, as asked for; the render snaps it.")
    seed: int = Field(_DEFAULTS.seed, ge=-1, description="-1 is random: such a preview cannot be re-run.")
    sample_steps: int = _DEFAULTS.sample_steps
    guidance_scale: float = _DEFAULTS.guidance_scale

    def outside(self, limits: Limits) -> tuple[str, str] | None:
        """Return the first field outside the reference's limits and what is wrong with it, or None."""
        for name, (low, high) in (
            ("width", limits.size),
            ("height", limits.size),
            ("sample_steps", limits.sample_steps),
            ("guidance_scale", limits.guidance_scale),
            ("seed", limits.seed),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                return name, f"{value} is outside the reference's range {low} to {high}"
        return None


class Trained(Strict):
    """What the job recorded about the training: evidence for why a re-run may differ."""

    arch: str | None = None
    software: str | None = Field(None, description="Name and version that the LoRA's metadata records.")
    dtype: str | None = Field(None, description="train.dtype: the preview was rendered in it.")
    quantize: bool = False
    quantize_te: bool = False
    qtype: str | None = None
    qtype_te: str | None = None
    ema: bool = False
    base: str | None = Field(None, description="model.name_or_path of the job.")
    trigger_word: str | None = None
    prompt_template: str | None = Field(None, description="The prompt as written, before trigger and flags.")
    sampler: str | None = Field(
        None, description="Recorded; AI Toolkit ignores it for flex2 and honours it for flex1."
    )
