"""Which library releases changed pixels, and which releases each version of AI Toolkit pins.

Changes: measured on the releases around each, most by ``python tools/environments.py``. Pins: the files
``requirements*.txt``, ``README.md`` and ``docker/Dockerfile`` of ``ostris/ai-toolkit`` at the commits that
changed them, up to version 0.12.26.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from harness.schema.trainer_versions import version_of

Era = Literal["legacy", "current"]
T5Attention = Literal["eager", "sdpa"]


@dataclass(frozen=True)
class Change:
    """One release of a library that changed pixels.

    Attributes:
        since: the first release that does ``after``.
        subject: what changed; the name of its axis where a request can choose.
        before: what earlier releases do, until the entry before this one.
        effect: of the change, as measured.
    """

    library: str
    since: str
    subject: str
    before: str
    after: str
    effect: str


CHANGES = (
    Change("torch", "2.12", "noise", "legacy", "current", "another picture from the same seed"),
    Change("torch", "2.13", "bf16 attention on the CPU", "older sums", "newer sums",
           "softmax added up in another order: one value of a million, step-0 previews by 43 to 44 dB"),
    Change("transformers", "5.15.0", "t5_attention", "eager", "sdpa",
           "bf16 embeddings differ by 1 %, step-0 previews by 41 to 46 dB"),
    Change("transformers", "5.6.0", "CLIP weights named without text_model.", "left at random", "read",
           "the shipped checkpoint has the prefix; a base without it is refused where it is not read"),
    Change("transformers", "5.0.0", "CLIP tokens", "slow tokenizer", "fast tokenizer",
           "other tokens for Chinese and Japanese"),
    Change("transformers", "5.0.0", "T5 tokens", "NFKC", "no NFKC", "other tokens for full-width letters"),
    Change("transformers", "5.3.0", "T5 tokens", "no NFKC", "NFKC", "as before 5.0.0"),
)  # fmt: skip
"""Every change that is known, by subject in the order of its releases."""


class Pins(NamedTuple):
    """What AI Toolkit installs from a version on; None where that version leaves it to the user."""

    since: str
    torch: str | None
    transformers: str
    peft: str | None = None


PINS = (
    Pins("0.2.0", "2.6.0", "4.49.0"),
    Pins("0.2.9", "2.7.0", "4.49.0"),
    Pins("0.2.10", "2.7.0", "4.52.4"),
    Pins("0.7.6", "2.7.0", "4.57.3"),
    Pins("0.7.12", "2.9.1", "4.57.3"),
    Pins("0.9.1", "2.9.1", "5.5.3", "0.18.1"),
    Pins("0.11.2", None, "5.5.3", "0.18.1"),
    Pins("0.12.0", "2.13.0", "5.5.3", "0.18.1"),
)
"""In the order of the trainer's versions. diffusers is always a commit between two releases."""


def numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version such as ``2.14.1+cu130``."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part)  # type: ignore[index]


def behaviour(subject: str, version: str) -> str:
    """Return what a library's ``version`` does in ``subject`` of ``CHANGES``."""
    found = ""
    for change in CHANGES:
        if change.subject == subject:
            found = found or change.before
            if numbers(version) >= numbers(change.since):
                found = change.after
    return found


def pins_of_software(software: str | None) -> Pins | None:
    """Return what the recorded ``ai-toolkit X.Y.Z`` installs, or None where it is not known."""
    version = version_of(software)
    reached = [pins for pins in PINS if version is not None and numbers(pins.since) <= version]
    return reached[-1] if reached else None


def era_of_software(software: str | None) -> Era | None:
    """Return the noise era that a recorded ``ai-toolkit X.Y.Z`` implies, or None where it implies none."""
    pins = pins_of_software(software)
    return None if pins is None or pins.torch is None else cast(Era, behaviour("noise", pins.torch))
