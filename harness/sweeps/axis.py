"""What an axis is: one setting that may explain a drift, with its values and its validity rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.errors import HarnessError, LoraError
from harness.schema.case import Case
from harness.schema.render import RenderRequest
from harness.sweeps.axis_values import Parse, Value

MAX_TRIGGER_WORDS = 8


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
class Grid:
    """Numbers from ``low`` to ``high`` in steps.

    Attributes:
        inverse: the effect goes with 1 / number, as that of more and more denoising steps.
    """

    step: float
    low: float
    high: float
    inverse: bool = False

    def place(self, number: float) -> float:
        """Return where ``number`` lies on a line along which an image changes about evenly."""
        return 1 / number if self.inverse else number

    def number(self, place: float) -> float:
        """Return the number of the grid at ``place``."""
        if not self.inverse:
            return self.snap(place)
        return self.snap(1 / place if place > 1 / self.high else self.high)

    def snap(self, number: float) -> float:
        """Return the number of the grid nearest to ``number``; a whole one for a whole step."""
        snapped = round(min(max(number, self.low), self.high) / self.step) * self.step
        return int(snapped) if isinstance(self.step, int) else round(snapped, 6)


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
        grid: the values of a number with a gradual effect as users type them; None for any other axis.
    """

    name: str
    family: Family
    explanation: str
    parse: Parse
    apply: Callable[[Context, RenderRequest, Value], RenderRequest]
    read: Callable[[Context, RenderRequest], Value]
    candidates: Callable[[Context], list[Value]]
    problem: Callable[[Context, Value], str | None] = _never
    grid: Grid | None = None


def prompts(case: Case) -> dict[str, str]:
    """Return the case's prompt with its trigger word: ``trained``, ``absent`` and left ``literal``.

    A prompt with a literal ``[trigger]`` and no trigger word lacks it: the words that the LoRA's metadata and
    the job's name hold stand in for it, by name.
    """
    word, prompt = case.trained.trigger_word, case.settings.prompt
    literal = "[trigger]"
    if word and word in prompt:
        return {
            "trained": prompt,
            "absent": _without(prompt, word),
            "literal": prompt.replace(word, literal),
        }
    if literal not in prompt:
        return {"trained": prompt}
    words = {each: prompt.replace(literal, each) for each in _trigger_words(case)}
    return {"trained": prompt, **words, "absent": _without(prompt, literal)}


def _without(prompt: str, word: str) -> str:
    return re.sub(r"\s+([,.])", r"\1", " ".join(prompt.replace(word, "").split()))


def _trigger_words(case: Case) -> list[str]:
    """Return words that may be the trigger word, likeliest first: tags of the LoRA, then the job's name."""
    from harness.schema.lora_file import inspect_lora

    metadata: Mapping[str, str] = {}
    if case.lora_path is not None:
        with suppress(HarnessError):
            metadata = inspect_lora(case.lora_path).metadata
    try:
        tags = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except ValueError:
        tags = {}
    groups = tags.values() if isinstance(tags, dict) else ()
    words = [str(tag) for group in groups if isinstance(group, dict) for tag in group]
    names = [case.id.partition("/")[0], *metadata.get("ss_output_name", "").split(), metadata.get("name", "")]
    parts = [part for name in names for part in re.split(r"[_\W]+", name) if len(part) > 2]
    found = dict.fromkeys([*words, *names, *parts])
    return [word for word in found if word and not word.isdigit()][:MAX_TRIGGER_WORDS]


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
