"""Controls: re-runs that must count as equal (noise), and re-runs that must not (signal)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from harness.runs.t5_kernel import REPEAT
from harness.schema.render import Lora, RenderRequest, Shift
from harness.schema.spec import ModelSpec

Kind = Literal["noise", "signal"]
CODEC = "codec round trip"
OTHER_KERNEL = "other attention kernel"
IN_A_BATCH = "batch of two"
OTHER_ATTENTION = "_native_math"
"""torch's attention without a fused kernel: there on every machine, and not the one torch chooses."""

WRONG_GUIDANCE = 1.0
BATCH = 2


@dataclass(frozen=True)
class Control:
    """One changed request, and whether its re-run is as valid as the plain one."""

    name: str
    kind: Kind
    request: RenderRequest


def controls(request: RenderRequest, other_lora: Lora | None) -> list[Control]:
    """Return the controls of one request; those that need a LoRA only where there is one.

    Noise: the same again, another attention kernel, the first of a batch of two, and the LoRA as a live
    adapter and merged in fp32 instead of fused. Signal: a neighbouring seed, guidance − 1, half the
    shift that the image's size asks for, no LoRA, another checkpoint.

    Args:
        other_lora: another checkpoint of the same job, if the cases hold one.
    """
    made = [
        Control(REPEAT, "noise", request),
        Control(OTHER_KERNEL, "noise", replace(request, attention=OTHER_ATTENTION)),
        Control(IN_A_BATCH, "noise", replace(request, batch=BATCH)),
        Control("wrong seed", "signal", replace(request, seed=request.seed ^ 1)),
        Control("other guidance", "signal", replace(request, guidance_scale=_other_guidance(request))),
        Control("half the shift", "signal", replace(request, shift=_half_the_shift(request.spec))),
    ]
    if request.lora is None:
        return made
    if request.effective_lora_mode == "fused":
        made += [
            Control("live adapter", "noise", replace(request, lora_mode="adapter")),
            Control("merged in fp32", "noise", replace(request, lora_mode="fp32")),
        ]
    made.append(Control("LoRA off", "signal", replace(request, lora=None)))
    if other_lora is not None:
        made.append(Control("other checkpoint", "signal", replace(request, lora=other_lora)))
    return made


def _half_the_shift(spec: ModelSpec) -> Shift:
    """Sigmas are shifted by exp(mu), and mu is linear in the size between these two."""
    ends = spec.scheduler["base_shift"], spec.scheduler["max_shift"]
    base_shift, max_shift = (mu - math.log(2) for mu in ends)
    return Shift(base_shift=base_shift, max_shift=max_shift)


def _other_guidance(request: RenderRequest) -> float:
    lower = request.guidance_scale - WRONG_GUIDANCE
    return lower if lower >= 0 else request.guidance_scale + WRONG_GUIDANCE
