"""A settings file written by hand, for an image that says nothing of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harness._util.strict_yaml import read_mapping
from harness._util.validation import problems_as
from harness.errors import RequestError
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.schema.case import Quantize
from harness.schema.fields import Strict
from harness.schema.render import LoraMode


class SettingsLora(Strict):
    """The LoRA of a settings file."""

    file: str = Field(min_length=1, max_length=4096)
    network_multiplier: float = 1.0


class SettingsFile(Strict):
    """A settings file: the case file's words; what is left out is not known.

    Attributes:
        model: name of the base's file or repository.
        lora: ``none`` where the tool applied none; left out where that is not known.
    """

    tool: Tool = Tool.UNKNOWN
    prompt: str | None = Field(None, max_length=100_000)
    neg: str | None = None
    width: int | None = Field(None, gt=0)
    height: int | None = Field(None, gt=0)
    seed: int | None = Field(None, ge=0)
    sample_steps: int | None = Field(None, gt=0)
    guidance_scale: float | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    mu: float | None = None
    denoise: float | None = None
    max_sequence_length: int | None = Field(None, gt=0)
    blanks: Literal["none", "flextools"] | None = None
    noise: Literal["current", "legacy"] | None = None
    dtype: str | None = None
    quantize: Quantize | None = None
    model: str | None = None
    lora_mode: LoraMode | None = None
    lora: SettingsLora | Literal["none"] | None = None


def read_settings_file(path: Path) -> InferenceSettings:
    """Return what a settings file (YAML) states.

    Raises:
        RequestError: not readable, not YAML, an unknown key or a value of another kind; names the field.
    """
    data = read_mapping(path, RequestError, fix="write lines like 'seed: 42'")
    with problems_as(RequestError, SettingsFile, file=path):
        body = SettingsFile.model_validate({**data, "tool": _tool(path, data)})
    settings = InferenceSettings(body.tool, f"the settings file {path.name}")
    for name in SettingsFile.model_fields:
        if name not in {"tool", "lora"}:
            settings.put(name, getattr(body, name), f"{path.name}, {name}")
    if body.lora == "none":
        settings.loras = []
    elif isinstance(body.lora, SettingsLora):
        settings.loras = [LoraUse(body.lora.file, body.lora.network_multiplier, f"{path.name}, lora")]
    return settings


def _tool(path: Path, data: dict[object, object]) -> Tool:
    given = data.get("tool", Tool.UNKNOWN.value)
    if not isinstance(given, str) or given not in list(Tool):
        raise RequestError(
            f"{str(given)[:60]!r} is no tool", file=path, field="tool", fix=f"choose {', '.join(Tool)}"
        )
    return Tool(given)
