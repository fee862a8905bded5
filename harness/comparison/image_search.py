"""Search the settings of an image that does not state them: a tool's dialect first, then its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.diagnosis.search import Tell, search
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

OLDER = 1.1
"""What a distance counts with the T5 attention of transformers before 5.15, which few scripts have now."""

SUSPECTS: tuple[Settings, ...] = (
    MappingProxyType({"lora_mode": "peft"}),
    MappingProxyType({"dynamic_shifting": False}),
    MappingProxyType({"dtype": "fp32"}),
    MappingProxyType({"guidance_scale": 3.5}),
    MappingProxyType({"steps": 28}),
)
"""What scripts usually have otherwise, and what changes a picture as little as kernels do."""

Start = tuple[str, TrialRenderer]
"""A dialect by name, and the trials in it."""


@dataclass(frozen=True)
class Found:
    """What a search says an image was rendered with.

    Attributes:
        dialect: a name in ``DIALECTS``.
        settings: changed axes and their values, on top of the dialect.
        explained: whether the picture is reached.
    """

    dialect: str
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
        budget: renders of the case's own length to search with, beside those that a search begins with.
    """
    starts = sorted(_starts(context, image, codec, renderer), key=_likelihood)
    best: Found | None = None
    for start in starts:
        left = budget - sum(each.spent for _, each in starts)
        if best is not None and left < 2:
            break
        tell(f"searching in the dialect of {start[0]}")
        found, settled = _search_from(start, starts, max(left, 2), tell)
        if best is None or found.trial.distance < best.trial.distance:
            best = found
        if settled:
            break
    assert best is not None
    renders, spent = (sum(getattr(each, what) for _, each in starts) for what in ("renders", "spent"))
    return dataclasses.replace(best, renders=int(renders), spent=float(spent))


def _search_from(start: Start, starts: list[Start], budget: float, tell: Tell) -> tuple[Found, bool]:
    """Return what a search in one dialect finds, and whether no other needs one."""
    trials = start[1]
    floor = None if _is_reference(trials) else TOOL_FLOOR
    found = search(trials, trials.spent + budget, tell, tool_floor=floor)
    last = found.path[-1] if found.path else found.reference
    name, where, last = _best_dialect(start, last, starts)
    explained = found.explained
    if _is_reference(where):
        last = _usual(where, last)
        explained = explained or last.distance == 0
    elif last.distance <= TOOL_FLOOR:
        explained = True
    settled = explained or last.distance < FAR * found.reference.distance
    return Found(name, last.settings, last, explained, 0, 0.0), settled


def _likelihood(start: Start) -> float:
    """Return the distance at a start; between near twins, transformers of today is the likelier one."""
    trials = start[1]
    older = _is_reference(trials) and trials.context.request.t5_attention == "eager"
    return trials.trial({}).distance * (OLDER if older else 1)


def with_other_kernel(request: RenderRequest) -> RenderRequest:
    """Return ``request`` with the other kernel of T5's attention."""
    return dataclasses.replace(request, t5_attention="eager" if request.t5_attention == "sdpa" else "sdpa")


def _is_reference(trials: TrialRenderer) -> bool:
    return trials.context.request.dialect == DIALECTS["reference"]


def _starts(context: Context, image: Path, codec: Codec, renderer: Renderer) -> list[Start]:
    """Return the case in each tool's dialect: ComfyUI also with the reference's number of tokens.

    The reference's is there with both kernels of T5's attention: a script has that of its transformers.
    """
    own = dataclasses.replace(context.request, t5_attention="sdpa")
    comfyui, forge = in_dialect(own, "comfyui"), in_dialect(own, "forge")
    padded = dataclasses.replace(comfyui, max_sequence_length=own.max_sequence_length)
    older, short = with_other_kernel(own), ("comfyui", comfyui)
    requests = (("reference", own), ("reference", older), ("comfyui", padded), short, ("forge", forge))
    return [
        (name, TrialRenderer(dataclasses.replace(context, request=request), renderer, image, codec))
        for name, request in requests
    ]


def _best_dialect(start: Start, last: Trial, starts: list[Start]) -> tuple[str, TrialRenderer, Trial]:
    """Return the dialect in which the settings of ``last`` come nearest: where they are right, they tell."""
    best = (*start, last)
    for name, there in starts:
        if there is not start[1] and last.settings:
            trial = there.attempt(last.settings)
            if trial is not None and trial.distance < best[2].distance:
                best = (name, there, trial)
    return best


def _usual(trials: TrialRenderer, last: Trial) -> Trial:
    """Return ``last`` with the usual change that makes it identical or much nearer, or ``last``.

    What was found within the floor may stand for something else: the first suspect is also tried in the place
    of each other setting, and counts there where it makes the picture identical.
    """
    own = {name: value for name, value in last.settings.items() if name != "attention"}
    plain = trials.attempt(own)
    best = plain if plain is not None and plain.distance <= last.distance else last
    if trials.request(own).effective_lora_mode != "none":
        for left in ({}, *({name: own[name]} for name in own if len(own) > 1)):
            rest = {name: value for name, value in own.items() if name not in left}
            trial = trials.attempt({**rest, **SUSPECTS[0]}) if best.distance else None
            if trial is not None and trial.distance < (NEARER * best.distance if not left else 1e-9):
                best = trial
    for change in SUSPECTS[1:]:
        if best.distance == 0:
            break
        if not change.keys() & best.settings.keys():
            trial = trials.attempt({**best.settings, **change})
            if trial is not None and trial.distance < NEARER * best.distance:
                best = trial
    return best
