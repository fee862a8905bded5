"""The ``parameters`` text of A1111, Forge and SD.Next: the prompt, then one line of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from harness.importers.image_metadata.graph_sampling import FIXED_MU
from harness.importers.image_metadata.graph_text import T5_TOKENS
from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.json_text import integer, number
from harness.importers.image_metadata.low_precision import join_encoder, of_encoder_file, of_forge

_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'\s*([A-Za-z][\w \-/]{0,60}):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_TAG = re.compile(r"<(\w{1,40}):([^<>]{1,400})>")
"""A network in the prompt; these tools take every tag of this form out of it."""
_HASH = re.compile(r"(.+?):\s*([0-9a-fA-F]{6,64})\Z")
_SCHEDULES: Mapping[str, str] = MappingProxyType({
    "simple": "simple", "normal": "normal", "beta": "beta", "sgm uniform": "sgm_uniform",
    "karras": "karras", "exponential": "exponential", "ddim": "ddim_uniform", "kl optimal": "kl_optimal",
    "uniform": "normal",
})  # fmt: skip
"""Forge's names of schedules, in ComfyUI's words."""
_SAMPLERS: Mapping[str, str] = MappingProxyType({"euler": "euler", "[forge] flux realistic": "euler"})
_CHANGING = (
    "Hires upscale", "Hires steps", "Denoising strength", "Refiner", "ADetailer model", "Variation seed",
    "ControlNet 0", "Skip Early CFG", "Token merging ratio", "Style Selector Enabled",
)  # fmt: skip
"""Settings that change the picture and that no preview has."""
MAX_LINE = 20_000


def read_infotext(text: str, *, source: str) -> InferenceSettings | None:
    """Return what an infotext states; None where ``text`` is none."""
    body, _, last = text.rstrip("\n\0 ").rpartition("\n")
    if not last.startswith("Steps: ") or len(last) > MAX_LINE:
        return None
    pairs = {key.strip(): value.strip().strip('"') for key, value in _PAIR.findall(last)}
    settings = InferenceSettings(_tool(pairs), source, version=pairs.get("Version"))
    prompt, _, negative = body.partition(_NEGATIVE)
    _prompts(settings, prompt, negative, pairs.get("Lora hashes", ""))
    _numbers(settings, pairs)
    _sampling(settings, pairs)
    for name in _CHANGING:
        if name in pairs:
            settings.did_not_understand(f"{name}: {pairs[name][:60]}")
    return settings


def _tool(pairs: Mapping[str, str]) -> Tool:
    version = pairs.get("Version", "")
    if pairs.get("App") == "SD.Next" or "Operations" in pairs:
        return Tool.SDNEXT
    if version[:1] in {"f", "neo"} or version.startswith("neo") or "Distilled CFG Scale" in pairs:
        return Tool.FORGE
    return Tool.A1111


def _prompts(settings: InferenceSettings, prompt: str, negative: str, hashes: str) -> None:
    known = {}
    for each in hashes.split(","):
        if match := _HASH.match(each.strip()):
            known[match[1].strip()] = match[2].lower()
    settings.loras = []
    for kind, arguments in _TAG.findall(prompt):
        if kind.lower() in {"lora", "lyco"}:
            _lora(settings, arguments.split(":"), known)
        else:
            settings.did_not_understand(f"<{kind}:{arguments[:40]}> in the prompt")
    settings.put("prompt", " ".join(_TAG.sub("", prompt).split(" ")).strip(), "the prompt")
    settings.put("neg", negative.strip(), _NEGATIVE.rstrip(":"))


def _lora(settings: InferenceSettings, arguments: list[str], hashes: Mapping[str, str]) -> None:
    """Note ``<lora:NAME:TE:UNET>``: strengths for text encoder and model, the same where one is given."""
    assert settings.loras is not None
    named = dict(part.split("=", 1) for part in arguments if "=" in part)
    name, *numbers = [part for part in arguments if "=" not in part] or [""]
    given = named.get("unet", numbers[1] if numbers[1:] else named.get("te", numbers[0] if numbers else "1"))
    strength, place = number(given), f"<lora:{name}:…> in the prompt"
    if others := sorted(named.keys() - {"te", "unet"}):
        settings.did_not_understand(f"{others[0][:40]}= of {place}")
    if strength != 0:
        scale = None if strength is None else float(strength)
        settings.loras.append(LoraUse(name, scale, place, hashes.get(name)))


def _numbers(settings: InferenceSettings, pairs: Mapping[str, str]) -> None:
    settings.put("sample_steps", integer(pairs.get("Steps")), "Steps")
    settings.put("seed", integer(pairs.get("Seed")), "Seed")
    settings.put("cfg", number(pairs.get("CFG scale")), "CFG scale")
    settings.put("guidance_scale", number(pairs.get("Distilled CFG Scale")), "Distilled CFG Scale")
    width, _, height = pairs.get("Size", "").partition("x")
    settings.put("width", integer(width), "Size")
    settings.put("height", integer(height), "Size")
    settings.put("model", pairs.get("Model"), "Model")
    if (bits := pairs.get("Diffusion in Low Bits")) and bits.lower() != "automatic":
        stored = of_forge(bits)
        settings.put("dtype", bits if stored is None else None, "Diffusion in Low Bits")
        if stored is not None:
            settings.put("quantize", stored.quantize, "Diffusion in Low Bits")
            settings.put("lora_mode", stored.lora_mode, "Diffusion in Low Bits")
    for key, value in pairs.items():
        if key.startswith("Module ") and "t5" in value.lower():
            settings.put("quantize_te", of_encoder_file(value), key)
    join_encoder(settings)


def _sampling(settings: InferenceSettings, pairs: Mapping[str, str]) -> None:
    sampler, kind = pairs.get("Sampler", ""), pairs.get("Schedule type", "")
    settings.put("sampler", _SAMPLERS.get(sampler.lower(), sampler) or None, "Sampler")
    settings.put("schedule", _SCHEDULES.get(kind.lower(), kind) or None, "Schedule type")
    if settings.tool is Tool.FORGE:
        shift = number(pairs.get("Shift"))
        settings.put("mu", FIXED_MU, "the tool's own", default=True)
        if shift is not None:
            settings.did_not_understand(f"Shift: {shift:g}")
        settings.put("max_sequence_length", T5_TOKENS, "the tool's own", default=True)
        settings.put("blanks", "none", "the tool's own", default=True)
        device = pairs.get("RNG", "GPU").lower()
        settings.put("generator", "cpu" if device == "cpu" else "cuda", "RNG", default="RNG" not in pairs)
