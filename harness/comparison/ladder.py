"""From the inference image to the preview, one difference taken back after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.comparison.image_request import taken_back
from harness.comparison.setting_row import SettingRow, State
from harness.schema.render import RenderRequest

Pixels = NDArray[np.uint8]

_TOGETHER = (("blanks",), ("max_sequence_length",), ("schedule", "shift"))
"""A tool's own differences that are taken back together, the largest first; what is left comes last."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    Attributes:
        settings: what was taken back to the preview's; empty for the image itself.
        tool: whether these are the tool's own ways, not the user's settings.
        psnr: distance from the preview after it, dB; None where the two are identical.
        closed: share of the image's distance that this step removes; below 0 where it adds to it.
    """

    settings: tuple[str, ...]
    tool: bool
    psnr: float | None
    closed: float


def climb(
    image: Pixels,
    request: RenderRequest,
    own: RenderRequest,
    rows: list[SettingRow],
    render: Callable[[RenderRequest], Pixels],
    distance: Callable[[Pixels], float],
) -> list[Rung]:
    """Return the ladder from ``image``, rendered by ``request``, to the preview, rendered by ``own``.

    The tool's own ways are taken back first: while they are there, they hide what the settings do.

    Args:
        render: renders a request, or takes what it rendered before.
        distance: root mean square difference of a picture from the preview, 0 to 255.
    """
    whole = before = distance(image)
    rungs = [Rung((), False, psnr(whole), 0.0)]
    groups = _groups(rows)
    for place, (settings, tool) in enumerate(groups, start=1):
        for setting in settings:
            request = taken_back(request, own, setting)
        after = distance(render(own if place == len(groups) else request))
        closed = (before - after) / whole if whole else 0.0
        rungs.append(Rung(settings, tool, psnr(after), round(closed, 4)))
        before = after
    return rungs


def psnr(rms: float) -> float | None:
    """Return a root mean square difference (0 to 255) in dB; None for 0."""
    return round(20 * math.log10(255 / rms), 2) if rms else None


def _groups(rows: list[SettingRow]) -> list[tuple[tuple[str, ...], bool]]:
    own = [row.setting for row in rows if row.state is State.TOOL]
    first = [tuple(name for name in group if name in own) for group in _TOGETHER]
    named = {name for group in first for name in group}
    last = tuple(name for name in own if name not in named)
    tools = [(group, True) for group in (*first, last) if group]
    users = dict.fromkeys(row.setting for row in rows if row.state is State.DIFFERS)
    return [*tools, *(((name,), False) for name in users)]
