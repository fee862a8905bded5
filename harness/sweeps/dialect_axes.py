"""Axes of what other tools do differently, whatever their settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from harness.pipeline.dialects import COMFY_SCHEDULES, DIALECTS, in_dialect
from harness.schema.render import RenderRequest
from harness.sweeps.axis import Axis, Context, Family
from harness.sweeps.axis_values import Value, choice

_OWN = "model"
"""The schedule of the request's own scheduler."""


def _set(field: str) -> Callable[[Context, RenderRequest, Value], RenderRequest]:
    def apply(_context: Context, request: RenderRequest, value: Value) -> RenderRequest:
        given: Any = None if value == _OWN else value
        return dataclasses.replace(request, dialect=dataclasses.replace(request.dialect, **{field: given}))

    return apply


def _read(field: str) -> Callable[[Context, RenderRequest], Value]:
    def read(_context: Context, request: RenderRequest) -> Value:
        value: Value | None = getattr(request.dialect, field)
        return _OWN if value is None else value

    return read


def _never(_context: Context) -> list[Value]:
    """Return nothing to try: no preview of the trainer was rendered so."""
    return []


def _schedules(context: Context) -> list[Value]:
    """Return ComfyUI's schedules where the request is in a dialect that has them."""
    return list(COMFY_SCHEDULES) if context.request.dialect.schedule is not None else []


def _apply_dialect(_context: Context, request: RenderRequest, value: Value) -> RenderRequest:
    return in_dialect(request, str(value))


def _read_dialect(_context: Context, request: RenderRequest) -> Value:
    """Return the tool whose ways a request has, whichever schedule it has taken."""
    own = dataclasses.replace(request.dialect, unpacking="fp16")  # of a GGUF's loader, in any tool
    alike = (
        name
        for name, known in DIALECTS.items()
        if (own.schedule is None) == (known.schedule is None)
        and dataclasses.replace(own, schedule=known.schedule) == known
    )
    return next(alike, "mixed")


def _axis(name: str, family: Family, explanation: str, values: tuple[str, ...]) -> Axis:
    return Axis(name, family, explanation, choice(name, values), _set(name), _read(name), _never)


DIALECT_AXES = (
    Axis("dialect", Family.NUMERICS,
         "A tool with its own defaults and ways: the reference, ComfyUI with FlexTools, or Forge.",
         choice("dialect", DIALECTS), _apply_dialect, _read_dialect, _never),
    Axis("schedule", Family.SCHEDULE, "ComfyUI's spacing of the sigmas for Euler's steps.",
         choice("schedule", (_OWN, *COMFY_SCHEDULES)), _set("schedule"), _read("schedule"), _schedules),
    _axis("blanks", Family.CONTENT, "What stands for absent control and inpainting images.",
          ("zero", "flextools")),
    _axis("latents", Family.NUMERICS, "Latents rounded to the model's dtype at each step, or kept in fp32.",
          ("bf16", "fp32")),
    _axis("timestep", Family.NUMERICS, "Timesteps rounded to the model's dtype, or kept in fp32.",
          ("bf16", "fp32")),
    _axis("rounding", Family.NUMERICS, "How pixels become 8 bits.", ("round", "truncate")),
    _axis("kernels", Family.NUMERICS, "Whose roundings the transformer has.", ("diffusers", "comfyui")),
    _axis("unpacking", Family.NUMERICS, "Dtype that a GGUF base's weights are unpacked in.",
          ("fp16", "bf16", "fp32")),
)  # fmt: skip
"""The dialect as a whole first: what is set beside it goes on top."""
