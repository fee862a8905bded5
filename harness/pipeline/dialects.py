"""Tools by the way they render, as changes to a render request.

Each is a starting point for what a tool's image states: its own settings go on top.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

from harness.schema.render import Dialect, RenderRequest, Shift

FIXED_MU = 1.15
"""Log of the shift that ComfyUI's and Forge's Flux models keep to at every size."""
T5_TOKENS = 256
"""Tokens that they pad T5's prompt to; longer prompts run longer."""
BLANK_LATENT, BLANK_MASK = -0.1159 * 0.3611, (1 - 0.1159) * 0.3611
"""What FlexTools' normalisation, (x - 0.1159) · 0.3611, makes of blank latents, 0, and of a blank mask, 1."""

COMFY_SCHEDULES: Mapping[str, str] = MappingProxyType({
    "comfy-simple": "Every 10 000/N-th entry of ComfyUI's table of sigmas.",
    "comfy-normal": "Evenly spaced times from 1 to the table's first sigma.",
    "comfy-sgm_uniform": "As normal with one step more, without the last.",
    "comfy-beta": "Quantiles of a beta(0.6, 0.6) over the table.",
    "comfy-karras": "Spaced after Karras et al. 2022 (rho 7) between the table's ends.",
    "comfy-exponential": "Evenly spaced in their log between the table's ends.",
    "comfy-kl_optimal": "Evenly spaced in their arc tangent between the table's ends.",
})  # fmt: skip
"""Values of the schedule axis: ComfyUI's schedulers, and what each does."""

_NODES = Dialect(schedule="comfy-simple", latents="fp32", timestep="fp32", rounding="truncate")

DIALECTS: Mapping[str, Dialect] = MappingProxyType({
    "reference": Dialect(),
    "comfyui": dataclasses.replace(_NODES, blanks="flextools", kernels="comfyui"),
    "forge": _NODES,
})  # fmt: skip
"""``reference`` also stands for a diffusers script and the reference's server; ``comfyui`` has FlexTools."""


def in_dialect(request: RenderRequest, name: str) -> RenderRequest:
    """Return ``request`` as the tool of that dialect renders it, its own defaults included."""
    dialect = DIALECTS[name]
    if dialect.schedule is None:
        return dataclasses.replace(request, dialect=dialect)
    return dataclasses.replace(
        request,
        dialect=dialect,
        shift=Shift(shift=math.exp(FIXED_MU), dynamic_shifting=False),
        max_sequence_length=T5_TOKENS,
        t5_attention="sdpa",
        lora_mode=None if request.lora is None else "fp32",
        quantize="none",
    )
