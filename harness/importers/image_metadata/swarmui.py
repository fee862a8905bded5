"""SwarmUI's record: JSON with the key ``sui_image_params``."""

from __future__ import annotations

from harness.importers.image_metadata.graph_sampling import FIXED_MU
from harness.importers.image_metadata.graph_text import DEFAULT_GUIDANCE, T5_TOKENS
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.json_text import integer, number, read_object, text

_KEY = "sui_image_params"
_CHANGING = ("initimage", "refinermodel", "refinerupscale", "controlnetmodel", "variationseed")


def read_swarmui(body: str, *, source: str) -> InferenceSettings | None:
    """Return what SwarmUI's JSON states; None where ``body`` is none."""
    if _KEY not in body:
        return None
    params = (read_object(body) or {}).get(_KEY)
    if not isinstance(params, dict):
        return None
    settings = InferenceSettings(Tool.SWARMUI, source, version=text(params.get("swarm_version")))
    for name, key in (("prompt", "prompt"), ("neg", "negativeprompt"), ("model", "model")):
        settings.put(name, text(params.get(key)), key)
    for name, key in (("seed", "seed"), ("sample_steps", "steps"), ("width", "width"), ("height", "height")):
        settings.put(name, integer(params.get(key)), key)
    settings.put("cfg", number(params.get("cfgscale")), "cfgscale")
    settings.put("guidance_scale", number(params.get("fluxguidancescale")), "fluxguidancescale")
    settings.put("guidance_scale", DEFAULT_GUIDANCE, "no fluxguidancescale", default=True)
    settings.put("sampler", text(params.get("sampler")), "sampler")
    settings.put("sampler", "euler", "no sampler", default=True)
    settings.put("schedule", text(params.get("scheduler")), "scheduler")
    settings.put("schedule", "simple", "no scheduler", default=True)
    settings.put("mu", number(params.get("sigmashift")), "sigmashift")
    settings.put("mu", FIXED_MU, "no sigmashift", default=True)
    settings.put("max_sequence_length", T5_TOKENS, "its ComfyUI's own", default=True)
    settings.loras = _loras(params)
    for key in _CHANGING:
        if key in params:
            settings.did_not_understand(f"{key}, which no preview has")
    return settings


def _loras(params: dict[str, object]) -> list[LoraUse]:
    names, weights = _listed(params.get("loras")), _listed(params.get("loraweights"))
    uses = []
    for place, name in enumerate(names):
        strength = number(weights[place]) if place < len(weights) else 1.0
        if isinstance(name, str) and strength != 0:
            uses.append(LoraUse(name, None if strength is None else float(strength), "loras"))
    return uses


def _listed(value: object) -> list[object]:
    """Return a list; older versions write text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []
