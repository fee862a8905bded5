"""The prompt grammar of AI Toolkit: trigger words and ``--flag value`` overrides.

Source: ``ostris/ai-toolkit``, ``toolkit/prompt_utils.py`` (trigger) and ``GenerateImageConfig`` in
``toolkit/config_modules.py`` (flags).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Value = int | float | str


def _floats(text: str) -> str:
    for part in text.split(","):
        float(part)
    return text


_PARSERS: Final[dict[str, tuple[str, Callable[[str], Value]]]] = {
    "n": ("neg", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "seed": ("seed", int),
    "l": ("guidance_scale", float),
    "cfg": ("guidance_scale", float),
    "s": ("sample_steps", int),
    "steps": ("sample_steps", int),
    "m": ("network_multiplier", float),
    "network_multiplier": ("network_multiplier", float),
    "frames": ("num_frames", int),
    "num_frames": ("num_frames", int),
    "ctrl_img": ("ctrl_img", str),
    "ctrl_idx": ("ctrl_idx", int),
    "p2": ("prompt_2", str),
    "n2": ("neg_2", str),
    "gr": ("guidance_rescale", float),
    "a": ("adapter_scale", float),
    "ref": ("refiner_start", float),
    "ev": ("extra_values", _floats),
    "extra_values": ("extra_values", _floats),
    "fps": ("fps", int),
}
"""Field and type of every flag; those from ``p2`` on do not change a Flex.2 image."""

FLAGS: Final = frozenset(_PARSERS)


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt and the settings that its flags give.

    Attributes:
        prompt: the text before the first ``--``, stripped.
        fields: what the flags set, by the name of the sample setting; the last flag wins.
        dropped: texts after a ``--`` without a known flag; the trainer drops them silently.
    """

    prompt: str
    fields: dict[str, Value]
    dropped: tuple[str, ...] = ()


def inject_trigger(prompt: str, trigger_word: str | None) -> str:
    """Replace ``[trigger]`` and ``[name]`` by the trigger word; None leaves the prompt as it is."""
    if trigger_word is None:
        return prompt
    return prompt.replace("[name]", trigger_word).replace("[trigger]", trigger_word)


def parse_prompt(text: str) -> ParsedPrompt:
    """Cut ``text`` at its first ``--`` and read the flags after it.

    Flags are case-sensitive, and a space ends their name.

    Raises:
        ValueError: a flag's value is not of its type (``--s 25.0``); the trainer fails on it too.
    """
    prompt, *parts = text.strip().split("--")
    fields: dict[str, Value] = {}
    dropped = []
    for part in parts:
        flag = part.split(" ", 1)[0].strip()
        value = part[len(flag) :].strip()
        if flag not in _PARSERS:
            dropped.append(part.strip())
            continue
        field, parse = _PARSERS[flag]
        try:
            fields[field] = parse(value)
        except ValueError:
            kind = "a whole number" if parse is int else "a number"
            raise ValueError(f"flag --{flag} takes {kind}, found {value!r}") from None
    return ParsedPrompt(prompt.strip(), fields, tuple(dropped))
