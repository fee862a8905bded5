"""Search the settings of an image that does not state them: a tool's dialect first, then its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.diagnosis.search import Search, search
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.metrics.codec import Codec
from harness.pipeline.dialects import DIALECTS, in_dialect
from harness.schema.render import Renderer, RenderRequest
from harness.sweeps.axis import Context

TOOL_FLOOR = 4.0
"""Root mean square difference (0 to 255; 36 dB) that a tool's own kernels make, beyond what is emulated."""
FAR = 0.25
"""Share of the first distance above which another dialect is tried after a search that explains nothing."""
NEARER = 0.6
"""Share of the distance that a usual change may leave at most, where kernels alone could explain it."""

SUSPECTS: tuple[Settings, ...] = (
    MappingProxyType({"lora_mode": "peft"}),
    MappingProxyType({"dynamic_shifting": False}),
    MappingProxyType({"dtype": "fp32"}),
    MappingProxyType({"guidance_scale": 3.5}),
    MappingProxyType({"steps": 28}),
)
"""What scripts usually have otherwise, and what changes a picture as little as kernels do."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a search says an image was rendered with.

    Attributes:
        dialect: a name in ``DIALECTS``.
        start: the request of the case in that dialect, which the settings were changed on.
        settings: changed axes and their values.
        explained: whether the picture is reached.
    """

    dialect: str
    start: RenderRequest
    settings: Mapping[str, object]
    trial: Trial
    explained: bool
    renders: int
    spent: float


def search_image(
    context: Context, image: Path, codec: Codec, renderer: Renderer, budget: float, tell: Tell
) -> Found:
    """Return the dialect and the settings that come nearest to ``image``.

    Args:
        context: the case with its own request, in the reference's dialect.
        budget: renders of the case's own length to spend at most.
    """
    starts = sorted(_starts(context, image, codec, renderer), key=lambda each: each[1].trial({}).distance)
    renders, spent = 0, 0.0
    best: Found | None = None
    for name, trials in starts:
        tell(f"searching in the dialect of {name}")
        left = budget - spent - sum(other.spent for _, other in starts if other is not trials)
        if best is not None and left < 2:
            break
        exact = trials.context.request.dialect == DIALECTS["reference"]
        found = search(trials, max(left, 2), tell, identical=exact, least_floor=0 if exact else TOOL_FLOOR)
        last = found.path[-1] if found.path else found.reference
        if exact:
            last = _usual(trials, last)
        spent, renders = (sum(getattr(each, what) for _, each in starts) for what in ("spent", "renders"))
        explained = found.explained or last.distance <= found.floor
        made = Found(name, trials.context.request, last.settings, last, explained, renders, spent)
        if best is None or last.distance < best.trial.distance:
            best = made
        if explained or last.distance < FAR * _first(found):
            break
    assert best is not None
    return dataclasses.replace(best, renders=renders, spent=spent)


def _starts(
    context: Context, image: Path, codec: Codec, renderer: Renderer
) -> list[tuple[str, TrialRenderer]]:
    """Return the case in each tool's dialect: ComfyUI also with the reference's number of tokens."""
    own = context.request
    comfyui, forge = in_dialect(own, "comfyui"), in_dialect(own, "forge")
    padded = dataclasses.replace(comfyui, max_sequence_length=own.max_sequence_length)
    requests = (("reference", own), ("comfyui", padded), ("comfyui", comfyui), ("forge", forge))
    return [
        (name, TrialRenderer(dataclasses.replace(context, request=request), renderer, image, codec))
        for name, request in requests
    ]


def _usual(trials: TrialRenderer, last: Trial) -> Trial:
    """Return ``last`` with the usual change that makes it identical or much nearer, or ``last``."""
    best = last
    for change in SUSPECTS:
        if best.distance == 0:
            break
        without_lora = trials.request(last.settings).effective_lora_mode == "none"
        if change.keys() & last.settings.keys() - {"lora_mode"} or ("lora_mode" in change and without_lora):
            continue
        trial = trials.trial({**last.settings, **change})
        if trial.distance < NEARER * best.distance:
            best = trial
    return best


def _first(found: Search) -> float:
    return found.reference.distance
