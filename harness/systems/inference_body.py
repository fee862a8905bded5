"""A render request as the reference server's request JSON, and what that JSON cannot say."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from harness.schema.render import RenderRequest

SENT = {"model", "prompt", "neg", "width", "height", "seed", "sample_steps", "guidance_scale", "lora"}
CHOSEN_BY_SERVER = {"base", "pipeline", "dtype"}


def refusal(request: RenderRequest) -> str | None:
    """Return why the server cannot be asked for ``request``, or None where it can."""
    if request.lora is None:
        return "the server renders with a LoRA only"
    return unsendable(request, "the server", SENT)


def unsendable(request: RenderRequest, system: str, sent: Collection[str]) -> str | None:
    """Return which field ``system`` cannot be told, or None where it can be told all that matter.

    A field that is not ``sent`` must have the reference's value. Current noise is what a system's torch draws
    from 2.12 on; its rows say that the era is unknown.
    """
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        usual = {field.default, "current"} if field.name == "noise" else {field.default}
        if field.name not in {*sent, *CHOSEN_BY_SERVER} and value not in usual:
            return f"{system} cannot be asked for {field.name} {_shown(value)}"
    return None


def inference_body(request: RenderRequest, lora_path: str) -> dict[str, Any]:
    """Return the body of ``POST /v1/inference``.

    Args:
        lora_path: where the server finds the LoRA's file.
    """
    assert request.lora is not None
    prompt = {name: getattr(request, name) for name in sorted(SENT - {"lora", "model"})}
    lora = {"path": lora_path, "network_multiplier": request.lora.network_multiplier}
    return {"model": request.model, "prompts": [prompt], "loras": [lora]}


def _shown(value: Any) -> str:
    """Return a value in words; of a group of settings, those that are set."""
    if not dataclasses.is_dataclass(value):
        return str(value)
    set_ones = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return ", ".join(f"{name}={each}" for name, each in set_ones.items() if each is not None)
