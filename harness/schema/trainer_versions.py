"""What a recorded trainer version says about how its previews were rendered."""

from __future__ import annotations

import re
from typing import Literal

Era = Literal["legacy", "current"]

FIRST_UNKNOWN_NOISE = (0, 11, 2)
"""Before it, AI Toolkit pinned torch 2.9.1 or older; from it on the user may install any torch."""


def era_of_software(software: str | None) -> Era | None:
    """Return the noise era that a recorded ``ai-toolkit X.Y.Z`` implies, or None where it implies none."""
    version = re.fullmatch(r"ai-toolkit v?(\d+)\.(\d+)\.(\d+)", (software or "").strip())
    if version is None:
        return None
    return "legacy" if tuple(map(int, version.groups())) < FIRST_UNKNOWN_NOISE else None
