"""What an axis is: one setting that may explain a drift, with its values and its validity rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.errors import LoraError
from harness.schema.case import Case
from harness.schema.render import RenderRequest
from harness.sweeps.axis_values import Parse, Value


class Family(StrEnum):
    """Axes that change a picture in the same way."""

    NOISE = "noise"
    CONTENT = "content"
    SAMPLING = "sampling"
    SCHEDULE = "schedule"
    NUMERICS = "numerics"


@dataclass(frozen=True)
class Context:
    """A case, its own request, and the device that renders: ``cpu`` or ``cuda``."""

    case: Case
    request: RenderRequest
    device: str


def _never(_context: Context, _value: Value) -> str | None:
    return None


@dataclass(frozen=True)
class Axis:
    """One setting that a variant may change.

    Attributes:
        explanation: one line that a report can print.
        parse: text to value; raises ``HarnessError`` with the nearest valid one.
        apply: the request with the value set.
        read: the value that a request has.
        candidates: the values that a diagnosis tries, likeliest first; the case's own may be among them.
        problem: why a case cannot take a value, or None.
    """

    name: str
    family: Family
    explanation: str
    parse: Parse
    apply: Callable[[Context, RenderRequest, Value], RenderRequest]
    read: Callable[[Context, RenderRequest], Value]
    candidates: Callable[[Context], list[Value]]
    problem: Callable[[Context, Value], str | None] = _never


def prompts(case: Case) -> dict[str, str]:
    """Return the case's prompt with its trigger word: ``trained``, ``absent`` and left ``literal``."""
    word, prompt = case.trained.trigger_word, case.settings.prompt
    if not word or word not in prompt:
        return {"trained": prompt}
    absent = re.sub(r"\s+([,.])", r"\1", " ".join(prompt.replace(word, "").split()))
    return {"trained": prompt, "absent": absent, "literal": prompt.replace(word, "[trigger]")}


def checkpoints(case: Case) -> dict[int, tuple[Path, str]]:
    """Return path and SHA-256 of the LoRAs that lie beside the case's own, by training step."""
    from harness.schema.lora_file import inspect_lora

    found: dict[int, tuple[Path, str]] = {}
    for path in sorted(case.lora_path.parent.glob("*.safetensors")) if case.lora_path else []:
        try:
            lora = inspect_lora(path)
        except LoraError:
            continue  # a neighbour that cannot be used is no candidate
        if lora.step is not None:
            found[lora.step] = (path, lora.sha256)
    return found
