"""InvokeAI's record: JSON in the PNG text chunk ``invokeai_metadata``."""

from __future__ import annotations

from harness.importers.image_metadata.inference_settings import InferenceSettings, LoraUse, Tool
from harness.importers.image_metadata.json_text import entries, integer, number, read_object, text
from harness.importers.image_metadata.low_precision import join_encoder, of_encoder_file

_CHANGING = ("init_image", "controlnets", "ipAdapters", "refiner_model", "hrf_enabled")


def read_invokeai(body: str, *, source: str) -> InferenceSettings | None:
    """Return what InvokeAI's JSON states; None where ``body`` is none."""
    found = read_object(body)
    if not found or "positive_prompt" not in found:
        return None
    settings = InferenceSettings(Tool.INVOKEAI, source, version=text(found.get("app_version")))
    settings.put("prompt", text(found.get("positive_prompt")), "positive_prompt")
    settings.put("neg", text(found.get("negative_prompt")), "negative_prompt")
    for name, key in (("seed", "seed"), ("sample_steps", "steps"), ("width", "width"), ("height", "height")):
        settings.put(name, integer(found.get(key)), key)
    settings.put("guidance_scale", number(found.get("guidance")), "guidance")
    settings.put("cfg", number(found.get("cfg_scale")), "cfg_scale")
    settings.put("sampler", text(found.get("scheduler")), "scheduler")
    model = found.get("model")
    if isinstance(model, dict):
        settings.put("model", text(model.get("name")), "model")
    t5 = found.get("t5_encoder")
    if isinstance(t5, dict):
        settings.put("quantize_te", of_encoder_file(text(t5.get("name")) or ""), "t5_encoder, by its name")
    join_encoder(settings)
    settings.loras = [
        LoraUse(text(named.get("name")) or "", float(weight), "loras")
        for each in entries(found.get("loras"))
        if isinstance(named := each.get("model") or each.get("lora"), dict)
        and (weight := number(each.get("weight"))) is not None
        and weight != 0
    ]
    for key in _CHANGING:
        if found.get(key):
            settings.did_not_understand(f"{key}, which no preview has")
    return settings
