"""What AI Toolkit does in some of its versions only, where it shows in a preview.

The version of a job is what its LoRA files record. A change that was made without a new number leaves one
version that does both: nothing can be said of it. Source of every rule: commits of ``ostris/ai-toolkit``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Rule:
    """Something that the trainer does from one version on, or up to one.

    Attributes:
        what: the rule, as a clause.
        since: first version that does it; None: it always did.
        until: first version that does it no more; None: it still does.
        unclear: versions of which some copies do it and some do not.
        source: commits that began and ended it.
    """

    what: str
    since: Version | None
    until: Version | None
    source: str
    unclear: tuple[Version, ...] = ()

    def holds(self, software: str | None) -> bool | None:
        """Return whether ``software``, e.g. ``ai-toolkit 0.12.26``, does it; None where that is unknown.

        A pre-release of the version that changed it may do either.
        """
        version = version_of(software)
        if version is None or version in self.unclear:
            return None
        if version in {self.since, self.until} and _PRE_RELEASE.search(software or ""):
            return None
        return (self.since is None or version >= self.since) and (self.until is None or version < self.until)

    def unknown(self, software: str | None) -> str:
        """Say why it is unknown whether ``software`` does it, as a clause with the rule."""
        if not software:
            why = "no trainer version is recorded"
        elif version_of(software) is None:
            why = f"{software!r} is no release of AI Toolkit"
        else:
            why = f"{software} was released both ways"
        return f"{self.what}: {why}"


CACHED_PROMPTS: Final = Rule(
    "with cached text embeddings, the prompts of sample are encoded once, and first_sample shows them too",
    since=(0, 4, 0), until=None, source="bb6db3d6",
)  # fmt: skip
LITERAL_TRIGGER: Final = Rule(
    "with cached text embeddings, [trigger] in sample prompts is not replaced",
    since=(0, 4, 0), until=(0, 10, 28), unclear=((0, 10, 28),), source="bb6db3d6 to 479c72ad",
)  # fmt: skip
SAMPLE_OBJECTS: Final = Rule(
    "sample.samples wins over sample.prompts; before, only prompts were read",
    since=(0, 3, 7), until=None, unclear=((0, 3, 7),), source="f500b9f2",
)  # fmt: skip
EMA: Final = Rule(
    "train.ema_config.use_ema averages the weights; before, the average was never set up",
    since=(0, 10, 5), until=None, unclear=((0, 10, 5),), source="82190b41",
)  # fmt: skip
AUTO_MEMORY: Final = Rule(
    "model.auto_memory turns qfloat8 into torchao's float8",
    since=(0, 6, 2), until=None, unclear=((0, 6, 2),), source="4e570785",
)  # fmt: skip
LAYER_OFFLOADING: Final = Rule(
    "model.layer_offloading, the later name of auto_memory, turns qfloat8 into torchao's float8",
    since=(0, 6, 4), until=None, unclear=((0, 6, 4),), source="1bc6dee1",
)  # fmt: skip
APPLE_INT8: Final = Rule(
    "on Apple silicon, qfloat8 becomes torchao's int8",
    since=(0, 8, 0), until=(0, 11, 2), unclear=((0, 8, 0), (0, 11, 2)), source="17153583 to c3afd95c",
)  # fmt: skip
APPLE_CONVROT8: Final = Rule(
    "on Apple silicon, qfloat8 becomes the trainer's own convrot8",
    since=(0, 11, 2), until=None, unclear=((0, 11, 2),), source="c3afd95c",
)  # fmt: skip
PRETRAINED_LORA: Final = Rule(
    "network.pretrained_lora_path is loaded before step 0; before, it was not read",
    since=(0, 7, 11), until=None, unclear=((0, 7, 11),), source="87edca1b",
)  # fmt: skip
ATTENTION_BACKEND: Final = Rule(
    "train.attention_backend chooses the attention kernel",
    since=(0, 6, 0), until=None, unclear=((0, 6, 0),), source="3b1f7b09",
)  # fmt: skip
COMPILED: Final = Rule(
    "model.compile compiles the transformer; before, the compiled one was not used",
    since=(0, 8, 1), until=None, unclear=((0, 8, 1),), source="0045260a",
)  # fmt: skip


_PRE_RELEASE = re.compile(r"\d[._-]?(a|b|c|rc|alpha|beta|pre|preview|dev)[._-]?\d*\b", re.IGNORECASE)


def version_of(software: str | None) -> Version | None:
    """Return the release of ``ai-toolkit X.Y.Z``, also of ``X.Y.Zrc1`` or ``X.Y.Z+local``; else None."""
    match = re.match(r"ai-toolkit v?(\d+)\.(\d+)\.(\d+)(?![\d])(?!\.\d)", (software or "").strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
