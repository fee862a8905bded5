"""The render request of an inference image, and how one setting of it is taken back to the preview's."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from harness.comparison.lora_match import checkpoints_of, match_lora
from harness.comparison.static_difference import NODE_TOOLS, WEIGHTING, WEIGHTS, literal, other_base
from harness.importers.image_metadata.inference_settings import InferenceSettings, Scalar, Tool
from harness.pipeline.dialects import COMFY_SCHEDULES, T5_TOKENS, in_dialect
from harness.precision.availability import missing
from harness.schema.case import Case
from harness.schema.dtypes import dtype_of
from harness.schema.lora_file import inspect_lora
from harness.schema.quantizers import SETTINGS, quantizer_of
from harness.schema.render import Lora, LoraMode, RenderRequest, Shift, lora_modes
from harness.schema.spec import Limits

DIALECT_OF = {Tool.COMFYUI: "comfyui", Tool.SWARMUI: "comfyui", Tool.FORGE: "forge"}
"""Dialects by tool; every other tool is taken to speak the reference's."""

MAX_MU = 10.0
"""Largest log of a shift; nearly all steps are in pure noise by then."""
_PLAIN = ("prompt", "width", "height", "seed", "sample_steps", "guidance_scale")
_FIELDS = {
    "size": ("width", "height"),
    "shift": ("shift",),
    "generator": ("generator",),
    "lora": ("lora", "lora_mode"),
    "quantize": ("quantize", "lora_mode"),
}
_DIALECT_FIELDS = ("schedule", "blanks", "latents", "timestep", "rounding", "kernels", "unpacking")


def image_request(
    case: Case, own: RenderRequest, stated: InferenceSettings
) -> tuple[RenderRequest, list[str]]:
    """Return the request that renders an image as its tool did, and what of it cannot be rendered so.

    Args:
        own: the request of the case itself; what the image does not state is taken from it.

    Raises:
        LoraError: a checkpoint beside the case cannot be used.
    """
    request = in_dialect(own, DIALECT_OF.get(stated.tool, "reference"))
    problems: list[str] = []
    plain = _within(case.spec.limits, own, stated, problems)
    if isinstance(prompt := plain.get("prompt"), str):
        plain["prompt"] = literal(prompt, stated.tool)
        if stated.tool in WEIGHTING and WEIGHTS.search(prompt):
            problems.append("weights in the prompt are rendered as its plain text here")
    request = dataclasses.replace(request, **plain)  # type: ignore[arg-type]
    if (base := other_base(case, stated)) is not None:
        problems.append(f"the base {base} is not rendered here: the case's own in its place")
    request = _sampling(request, stated, problems)
    request = _lora(case, request, stated, problems)
    return request, problems


def _within(
    limits: Limits, own: RenderRequest, stated: InferenceSettings, problems: list[str]
) -> dict[str, Scalar]:
    """Return what is stated of the plain settings; no number without an end, or a beginning, is rendered."""
    bounds = {
        "width": limits.size,
        "height": limits.size,
        "sample_steps": limits.sample_steps,
        "guidance_scale": limits.guidance_scale,
    }
    found = {}
    for name in _PLAIN:
        value = stated.value(name)
        low, high = bounds.get(name, (-math.inf, math.inf))
        if isinstance(value, int | float) and not low <= value <= high:
            problems.append(f"{name} {value:g} is not rendered here: {getattr(own, name):g} in its place")
        elif value is not None:
            found[name] = value
    return found


def taken_back(request: RenderRequest, own: RenderRequest, setting: str) -> RenderRequest:
    """Return ``request`` with one setting as the case's own request has it."""
    if setting in _DIALECT_FIELDS:
        value = getattr(own.dialect, setting)
        return dataclasses.replace(request, dialect=dataclasses.replace(request.dialect, **{setting: value}))
    if setting == "network_multiplier":
        assert own.lora is not None
        multiplier = own.lora.network_multiplier
        lora = request.lora and dataclasses.replace(request.lora, network_multiplier=multiplier)
        return dataclasses.replace(request, lora=lora)
    names = _FIELDS.get(setting, (setting,))
    changes = {name: getattr(own, name) for name in names if hasattr(own, name)}
    return dataclasses.replace(request, **changes)


def _sampling(request: RenderRequest, stated: InferenceSettings, problems: list[str]) -> RenderRequest:
    dialect = request.dialect
    if stated.tool in NODE_TOOLS:
        schedule = f"comfy-{stated.value('schedule') or 'simple'}"
        if schedule in COMFY_SCHEDULES:
            dialect = dataclasses.replace(dialect, schedule=schedule)
        else:
            problems.append(
                f"the schedule {stated.value('schedule')} is not rendered here: simple in its place"
            )
        if (blanks := stated.value("blanks")) is not None:
            dialect = dataclasses.replace(dialect, blanks="flextools" if blanks == "flextools" else "zero")
    request = dataclasses.replace(request, dialect=dialect)
    if (mu := stated.value("mu")) is not None and abs(float(mu)) > MAX_MU:
        problems.append(f"mu {float(mu):g} is not rendered here: the case's own shift in its place")
    elif mu is not None:
        shift = Shift(shift=math.exp(float(mu)), dynamic_shifting=False)
        request = dataclasses.replace(request, shift=shift)
    tokens = stated.value("max_sequence_length")
    if isinstance(tokens, int):
        request = dataclasses.replace(request, max_sequence_length=_tokens(tokens, problems))
    request = _quantized(request, stated, problems)
    if (value := stated.value("noise")) is not None:
        request = dataclasses.replace(request, noise=value)  # type: ignore[arg-type]
    problems += _unrendered(stated)
    if (dtype := stated.value("dtype")) is not None:
        if (known := dtype_of(str(dtype))) is not None:
            request = dataclasses.replace(request, dtype=known)
        else:
            problems.append(f"weights in {dtype} are not rendered here: bf16 in their place")
    return request


def _quantized(request: RenderRequest, stated: InferenceSettings, problems: list[str]) -> RenderRequest:
    """Store the weights as the image says; what cannot be computed here stays unquantized."""
    if (wanted := stated.value("quantize")) is None:
        return request
    name = quantizer_of(str(wanted))[0]
    why = missing(name) if wanted in SETTINGS and name is not None else "its quantizer is not known here"
    if why is None:
        dialect = dataclasses.replace(request.dialect, unpacking=stated.value("unpacking") or "fp16")  # type: ignore[arg-type]
        return dataclasses.replace(request, quantize=str(wanted), dialect=dialect)
    problems.append(f"a base in {wanted} is not rendered here ({why}): an unquantized one in its place")
    return dataclasses.replace(request, quantize="none")


def _tokens(tokens: int, problems: list[str]) -> int:
    if 16 <= tokens <= 512:
        return tokens
    problems.append(f"{tokens} tokens are not rendered here: {T5_TOKENS} in their place")
    return T5_TOKENS


def _unrendered(stated: InferenceSettings) -> list[str]:
    """Return what is stated and has no counterpart in the harness's own pipeline."""
    found = []
    sampler, cfg, denoise = (stated.value(name) for name in ("sampler", "cfg", "denoise"))
    if sampler is not None and str(sampler).lower() != "euler":
        found.append(f"the sampler {sampler} is not rendered here: euler in its place")
    if isinstance(cfg, int | float) and cfg != 1:
        found.append(f"cfg {cfg:g} is a second pass that is not rendered here: 1 in its place")
    if isinstance(denoise, int | float) and denoise != 1:
        found.append(f"denoise {denoise:g} is not rendered here: 1 in its place")
    if stated.value("generator") == "cuda":
        found.append("its noise was drawn on a GPU, and is drawn on the CPU here")
    return found


def _lora(
    case: Case, request: RenderRequest, stated: InferenceSettings, problems: list[str]
) -> RenderRequest:
    if stated.loras is None:
        mode = None if request.lora is None else _lora_mode(request, stated)
        return dataclasses.replace(request, lora_mode=mode)
    if not stated.loras:
        return dataclasses.replace(request, lora=None, lora_mode=None)
    known = checkpoints_of(case)
    matched = [(use, match) for use in stated.loras if (match := match_lora(use, case, known)).checkpoint]
    for use in stated.loras[:10]:
        if all(use is not each for each, _ in matched):
            problems.append(f"the LoRA {use.stem[:80]} does not lie beside the case and is left out")
    if not matched:
        return dataclasses.replace(request, lora=None, lora_mode=None)
    use, match = matched[0]
    assert match.checkpoint is not None
    strength = 1.0 if use.strength is None else use.strength
    file: Path = match.checkpoint.path
    lora = Lora(file, inspect_lora(file).sha256, strength)
    return dataclasses.replace(request, lora=lora, lora_mode=_lora_mode(request, stated))


def _lora_mode(request: RenderRequest, stated: InferenceSettings) -> LoraMode | None:
    """Return how the tool applies a LoRA: to weights in few bits as it does there, or as one would expect."""
    wanted, quantizer = stated.value("lora_mode"), request.transformer_quantizer
    if wanted in lora_modes(quantizer):
        return wanted  # type: ignore[return-value]
    if quantizer is not None:
        return "merged" if wanted == "stochastic" else "adapter"
    return "fp32" if stated.tool in NODE_TOOLS else request.lora_mode
