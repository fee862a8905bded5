"""The settings that an inference image, or a file beside it, states."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MAX_SHOWN = 200
"""Characters of a stranger's text that a message repeats."""

Scalar = str | int | float | bool


class Tool(StrEnum):
    """The tool that made an image."""

    COMFYUI = "comfyui"
    FORGE = "forge"
    A1111 = "a1111"
    SDNEXT = "sdnext"
    SWARMUI = "swarmui"
    INVOKEAI = "invokeai"
    REFERENCE_SERVER = "reference-server"
    DIFFUSERS = "diffusers"
    UNKNOWN = "unknown"


SETTINGS = (
    "prompt", "neg", "width", "height", "seed", "sample_steps", "guidance_scale", "cfg", "sampler",
    "schedule", "mu", "denoise", "max_sequence_length", "blanks", "generator", "model", "dtype",
    "webp_quality", "webp_method", "rounding", "noise", "lora_mode", "latents", "timestep", "quantize",
    "quantize_te", "unpacking",
)  # fmt: skip
"""Names that ``InferenceSettings.stated`` may hold, the case file's and the axes' own words where there are.

``mu`` is the log of the shift of the sigmas, ``blanks`` what stands for absent control and inpainting images,
``cfg`` the scale of a true second pass (1 is none), ``model`` a file name. ``quantize_te`` is what a reader
found of T5 alone, until ``join_encoder`` makes one ``quantize`` of it and the transformer's.
"""


@dataclass(frozen=True)
class Stated:
    """One setting as an image states it.

    Attributes:
        place: where it stands, in the tool's own words: ``node 25 Flex2Conditioner, guidance``.
        default: nothing sets it, and the tool's default holds.
    """

    value: Scalar
    place: str
    default: bool = False


@dataclass(frozen=True)
class LoraUse:
    """One LoRA that the tool applied.

    Attributes:
        name: file name as the tool has it: perhaps renamed, in a subfolder, without its ending.
        strength: scale it was applied at; None where it is not stated.
        hash: leading hexadecimal digits of a hash of the file that the tool recorded; lowercase.
        place: where it stands.
        strength_place: where its strength stands, if elsewhere.
    """

    name: str
    strength: float | None
    place: str
    hash: str | None = None
    strength_place: str = ""

    @property
    def stem(self) -> str:
        """The file's name without folders, written with either slash, and without ``.safetensors``."""
        return self.name.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")


@dataclass
class InferenceSettings:
    """What an image, or a file beside it, states of how it was made.

    Attributes:
        source: where that was read, e.g. ``PNG text chunk 'prompt'``.
        stated: settings by their name, one of ``SETTINGS``; what is not stated is absent.
        loras: those that were applied, in order; None where the source does not tell.
        loras_off: LoRAs that stand in the source and were switched off, with the reason.
        unknown: what lies on the way from the image back to its settings and is not understood, by name.
        notes: what a reader should know, in sentences.
    """

    tool: Tool
    source: str
    version: str | None = None
    stated: dict[str, Stated] = field(default_factory=dict)
    loras: list[LoraUse] | None = None
    loras_off: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, name: str, value: Scalar | None, place: str, *, default: bool = False) -> None:
        """Record a setting; what was recorded first stays, and None says nothing."""
        assert name in SETTINGS, name
        if value is not None:
            self.stated.setdefault(name, Stated(value, place, default))

    def value(self, name: str) -> Scalar | None:
        """Return a setting's value, or None where it is not stated."""
        stated = self.stated.get(name)
        return stated.value if stated else None

    def did_not_understand(self, what: str) -> None:
        """Name something that was met and is not understood; once."""
        if what not in self.unknown:
            self.unknown.append(what)


def shown(text: str) -> str:
    """Return a stranger's text in one line of at most ``MAX_SHOWN`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"
