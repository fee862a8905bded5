"""What to send to the reference server to get a row's picture."""

from __future__ import annotations

import json
from typing import Any

from harness.schema.result import Row


def recipe(row: Row) -> str:
    """Return a request of the reference server (``POST /v1/inference``) with a row's settings, as JSON."""
    case = row.description
    prompt: dict[str, Any] = {
        "prompt": case.settings.prompt,
        "width": case.preview.width,
        "height": case.preview.height,
        "seed": case.settings.seed,
        "sample_steps": case.settings.sample_steps,
        "guidance_scale": case.settings.guidance_scale,
        "neg": case.settings.neg,
    }
    request: dict[str, Any] = {"model": case.model, "prompts": [prompt]}
    if case.lora is not None:
        request["loras"] = [{"path": case.lora.file, "network_multiplier": case.lora.network_multiplier}]
    return json.dumps(request, indent=2, ensure_ascii=False)
