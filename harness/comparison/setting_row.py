"""One setting of the preview beside the same setting of the inference image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from harness.importers.image_metadata.inference_settings import Scalar

EFFECTS = {
    "prompt": "another prompt is another picture",
    "prompt_weights": "ComfyUI, Forge and A1111 take (word:1.2) as a weight; the trainer reads it literally",
    "size": "the first noise has another shape: another picture",
    "seed": "other first noise: another picture",
    "generator": "a GPU draws other noise from the seed: another picture",
    "noise": "the eras of torch draw unrelated noise from one seed: another picture",
    "sample_steps": "details move; the composition mostly stays",
    "guidance_scale": "contrast, colours and details; far from the trained value another drawing",
    "cfg": "above 1 the model is asked a second time without the prompt, which the trainer never does",
    "sampler": "another solver draws other details",
    "schedule": "details move; most with few steps",
    "shift": "where along the way the steps lie: layout against details; nothing at 1024 × 1024",
    "denoise": "below 1 it begins from another picture",
    "lora": "another style, or none",
    "network_multiplier": "the LoRA's style is weaker or stronger",
    "dtype": "small changes everywhere; fp8 larger ones",
    "quantize": "every weight of the base is rounded, and a LoRA merged into it in part rounded away",
    "max_sequence_length": "padding is not masked: fewer tokens change details",
    "blanks": "FlexTools normalises the blank conditions: the model sees a grey control image and a third of "
    "the mask, the largest of ComfyUI's own differences",
    "lora_mode": "the LoRA's weights are rounded elsewhere: tiny",
    "latents": "latents are not rounded between steps: tiny",
    "timestep": "timestep and guidance are not rounded: tiny",
    "rounding": "darker by half a level of 255",
    "kernels": "the transformer's arithmetic is rounded elsewhere: tiny",
    "unpacking": "a GGUF's weights are rounded on their way once less or more: tiny",
    "t5_attention": "the prompt's embeddings are rounded elsewhere: tiny",
    "base": "another base model draws another picture",
}
"""What a difference in a setting does to the picture, in words."""

EXTRA_LORA = "an extra LoRA"
"""Note of a LoRA that a tool applied beside the one that is held against the preview's."""


class State(StrEnum):
    """How a setting of the inference image relates to the preview's."""

    SAME = "same"
    DIFFERS = "differs"
    TOOL = "tool"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class SettingRow:
    """One setting of preview and inference image.

    Attributes:
        setting: its name in the case file, or of the axis.
        inference: None where it is not known.
        state: ``tool`` where the tool always does it so, whatever the user sets.
        place: where the inference value stands, in the tool's words.
        note: what a reader should know of this one.
        source: ``rendered`` where renders found it, else what the image or a file beside it states.
    """

    setting: str
    preview: Scalar | None
    inference: Scalar | None
    state: State
    place: str = ""
    note: str = ""
    source: Literal["metadata", "rendered"] = "metadata"

    @property
    def effect(self) -> str:
        """What a difference in it does to the picture."""
        return EFFECTS.get(self.setting, "")
