"""SwarmUI's record: JSON with the key ``sui_image_params``."""

from __future__ import annotations

from harness.importers.image_metadata.graph_sampling import FIXED_MU
from harness.importers.image_metadata.graph_text import DEFAULT_GUIDANCE, T5_TOKENS
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.json_text import integer, number, read_object, text
from harness.importers.image_metadata.low_precision import (
    join_encoder,
    of_encoder_file,
    of_file,
    of_weight_dtype,
)

OWN_T5 = "fp8_e4m3fn-te"
"""T5's file that SwarmUI fetches and takes where none is chosen."""
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
    _stored(settings, params)
    settings.loras = _loras(params)
    for key in _CHANGING:
        if key in params:
            settings.did_not_understand(f"{key}, which no preview has")
    return settings


def _stored(settings: InferenceSettings, params: dict[str, object]) -> None:
    """Note base and T5 in few bits: by the types that were asked for, and by the names of their files."""
    model, t5 = text(params.get("model")), text(params.get("txxlmodel"))
    for found, place in (
        (of_weight_dtype(text(params.get("preferreddtype")) or ""), "preferreddtype"),
        (of_file(model or ""), "model, by the file's name"),
    ):
        if found is not None:
            settings.put("quantize", found.quantize, place)
            settings.put("lora_mode", found.lora_mode, place)
    settings.put("quantize_te", of_encoder_file(t5) if t5 else OWN_T5, "txxlmodel", default=t5 is None)
    join_encoder(settings)


def _loras(params: dict[str, object]) -> list[LoraUse]:
    names, weights = _listed(params.get("loras")), _listed(params.get("loraweights"))
    uses = []
    for place, name in enumerate(names):
        strength = number(weights[place]) if place < len(weights) else 1.0
        if isinstance(name, str) and strength != 0:
            scale = None if strength is None else float(strength)
            uses.append(LoraUse(name, scale, "loras", strength_place="loraweights"))
    return uses


def _listed(value: object) -> list[object]:
    """Return a list; older versions write text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []
