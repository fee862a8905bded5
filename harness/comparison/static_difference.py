"""The settings of a preview beside those of an inference image; no model is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.comparison.lora_rows import lora_rows
from harness.comparison.setting_row import SettingRow, State
from harness.importers.image_metadata.inference_settings import InferenceSettings, Scalar, Tool, shown
from harness.importers.image_metadata.read_image import InferenceImage
from harness.pipeline.dialects import DIALECTS
from harness.pipeline.sigma_schedules import mu
from harness.runs.plan import noise_of
from harness.schema.case import Case
from harness.schema.dtypes import dtype_of
from harness.schema.quantizers import setting_of
from harness.schema.spec import MODELS

WEIGHTS = re.compile(r"(?<!\\)\([^()\n]{1,300}:\s*\d{0,3}\.?\d{1,4}\s*\)")
"""Emphasis as ComfyUI and A1111 read it: ``(word:1.2)``."""

NODE_TOOLS = frozenset({Tool.COMFYUI, Tool.SWARMUI, Tool.FORGE})
"""Tools that sample as ComfyUI does: its table of sigmas, fp32 latents, LoRAs merged in fp32, truncation."""

WEIGHTING = NODE_TOOLS | {Tool.A1111, Tool.SDNEXT, Tool.INVOKEAI}
"""Tools that take brackets in a prompt as weights."""

LORA_MODES = {
    "stochastic": "merged into the rounded weights, which are rounded at random again",
    "merged": "merged into the rounded weights, which are rounded to nearest again",
    "unpacked": "added to the weights as they are unpacked, and not rounded with them",
    "adapter": "kept beside the weights, and not rounded with them",
}
"""How a tool applies a LoRA to weights in few bits, in words."""

_FILE_NAMES = {
    **{spec.label: spec.file_names for spec in MODELS.values()},
    "FLUX": r"flux",
    "SDXL": r"sd_?xl|xl[._-]?base",
    "Stable Diffusion 1.5": r"sd[._-]?v?1[._-]?5|v1[._-]5",
    "Stable Diffusion 3": r"sd[._-]?3",
    "Chroma": r"chroma",
    "Qwen-Image": r"qwen",
}
"""How the files of models are called; the case's own comes before the others."""

_FIXED = {
    "noise": ("drawn in bf16", "drawn in fp32"),
    "lora_mode": ("fused", "fp32"),
    "latents": ("bf16", "fp32"),
    "timestep": ("bf16", "fp32"),
    "rounding": ("round", "truncate"),
    "kernels": ("diffusers", "comfyui"),
}
"""What these tools do whatever is set, beside what reference and trainer do."""


def static_difference(case: Case, image: InferenceImage) -> list[SettingRow]:
    """Return one row for each setting that the image states, or that its tool fixes.

    A setting that nothing states is a row of state ``unknown`` where it decides the picture.
    """
    stated = image.settings
    rows = [*_content(case, stated), *_sampling(case, stated), *lora_rows(case, stated)]
    if stated.tool in NODE_TOOLS:
        rows += _tools_own(case, stated)
    return rows


def _content(case: Case, stated: InferenceSettings) -> Iterator[SettingRow]:
    settings = case.settings
    prompt = stated.value("prompt")
    same = isinstance(prompt, str) and literal(prompt, stated.tool).split() == settings.prompt.split()
    yield _row(stated, "prompt", settings.prompt, same=same, note=_prompt_note(case, prompt))
    if stated.tool in WEIGHTING:
        yield from _weights(stated, prompt)
    width, height = stated.value("width"), stated.value("height")
    if width is not None and height is not None:
        asked = f"{width}×{height}"
        own = f"{settings.width}×{settings.height}"
        state = State.SAME if asked == own else State.DIFFERS
        yield SettingRow("size", own, asked, state, stated.stated["width"].place)
    yield from _base(case, stated)
    yield _row(stated, "seed", settings.seed)
    if (drawn := stated.value("generator")) is not None:
        yield _row(stated, "generator", "cpu", same=drawn == "cpu")


def _base(case: Case, stated: InferenceSettings) -> Iterator[SettingRow]:
    if (found := other_base(case, stated)) is not None:
        place = stated.stated["model"].place
        yield SettingRow("base", case.spec.label, found, State.DIFFERS, place, "by the file's name")


def other_base(case: Case, stated: InferenceSettings) -> str | None:
    """Return the model's file, and what it is called like, where that is another model than the case's."""
    name = re.split(r"[/\\]", str(stated.value("model") or ""))[-1]
    kinds = [label for label, pattern in _FILE_NAMES.items() if re.search(pattern, name, re.IGNORECASE)]
    return f"{shown(name)} ({kinds[0]})" if kinds and case.spec.label not in kinds else None


def literal(prompt: str, tool: Tool) -> str:
    r"""Return the text that a tool encodes: where brackets weight, ``\(`` and ``\)`` stand for themselves."""
    return prompt.replace(r"\(", "(").replace(r"\)", ")") if tool in WEIGHTING else prompt


def _prompt_note(case: Case, prompt: Scalar | None) -> str:
    word = case.trained.trigger_word
    if not word or not isinstance(prompt, str) or word not in case.settings.prompt or word in prompt:
        return ""
    if "[trigger]" in prompt:
        return f"[trigger] was left as it is: no tool but the trainer puts {word!r} there"
    return f"the trigger word {word!r} is missing"


def _weights(stated: InferenceSettings, prompt: Scalar | None) -> Iterator[SettingRow]:
    if isinstance(prompt, str) and (found := WEIGHTS.search(prompt)):
        place = stated.stated["prompt"].place
        yield SettingRow("prompt_weights", "literal", found[0], State.DIFFERS, place)


def _sampling(case: Case, stated: InferenceSettings) -> Iterator[SettingRow]:
    yield _row(stated, "sample_steps", case.settings.sample_steps)
    yield _row(stated, "guidance_scale", case.settings.guidance_scale, note=_guidance_note(stated))
    for name in ("cfg", "denoise"):
        if stated.value(name) is not None:
            yield _row(stated, name, 1.0)
    if stated.value("sampler") is not None:
        yield _row(stated, "sampler", "euler", same=str(stated.value("sampler")).lower() == "euler")
    if (schedule := stated.value("schedule")) is not None:
        tool = schedule == "simple"
        yield _row(stated, "schedule", "linear", same=False, tool=tool)
    if (length := stated.stated.get("max_sequence_length")) is not None:
        yield _row(stated, "max_sequence_length", case.spec.max_sequence_length, tool=length.default)
    if (shift := stated.value("mu")) is not None:
        yield _shift(case, stated, float(shift))
    yield from _quantized(case, stated)
    for name, own in (("noise", "current"), ("lora_mode", "fused")):
        if stated.value(name) is not None and (name != "lora_mode" or stated.value("quantize") is None):
            yield _row(stated, name, own)
    if (dtype := stated.value("dtype")) is not None:
        own, known = case.trained.dtype or "bf16", dtype_of(str(dtype))
        yield _row(stated, "dtype", own, same=dtype == own or (known is not None and known == dtype_of(own)))


def _quantized(case: Case, stated: InferenceSettings) -> Iterator[SettingRow]:
    """Compare how the base is stored; a tool whose loader says nothing of it does not quantize."""
    trained = case.trained
    recorded = setting_of(trained.qtype or trained.qtype_te, trained.quantize, trained.quantize_te)
    own = recorded or case.quantize if case.quantize == "none" else case.quantize
    if (found := stated.stated.get("quantize")) is not None:
        mode = stated.value("lora_mode")
        notes = [f"the LoRA: {LORA_MODES[str(mode)]}"] if stated.loras and mode in LORA_MODES else []
        if (unpacking := stated.stated.get("unpacking")) is not None:
            notes.append(f"unpacked in {unpacking.value} ({unpacking.place})")
        yield _row(stated, "quantize", own, tool=found.default, note="; ".join(notes))
    elif own != "none" and stated.tool in NODE_TOOLS and (model := stated.stated.get("model")) is not None:
        note = "the job trained and sampled on a quantized base"
        yield SettingRow("quantize", own, "none", State.DIFFERS, model.place, note)


def _guidance_note(stated: InferenceSettings) -> str:
    guidance = stated.stated.get("guidance_scale")
    return "the tool's default was left" if guidance and guidance.default else ""


def _shift(case: Case, stated: InferenceSettings, found: float) -> SettingRow:
    """Compare mu with the reference's at the size that was asked for.

    ComfyUI's Flux models keep to one mu at any size: that is the tool's own, and so is a ModelSamplingFlux
    node that is left at 1024 × 1024, which changes nothing.
    """
    width = stated.value("width") or case.settings.width
    height = stated.value("height") or case.settings.height
    spec = case.spec
    own = mu(spec.tokens(*spec.snap(int(width), int(height))), spec)
    same = abs(found - own) < 1e-3
    tool = abs(found - spec.scheduler["max_shift"]) < 1e-6
    place = stated.stated["mu"].place
    state = State.SAME if same else State.TOOL if tool else State.DIFFERS
    return SettingRow("shift", f"mu {own:.4g}", f"mu {found:.4g}", state, place)


def _tools_own(case: Case, stated: InferenceSettings) -> Iterator[SettingRow]:
    dialect = DIALECTS["forge" if stated.tool is Tool.FORGE else "comfyui"]
    blanks = stated.value("blanks")
    if blanks is not None:
        state = State.TOOL if blanks == "flextools" else State.SAME
        yield SettingRow("blanks", "zero", blanks, state, stated.stated["blanks"].place)
    for name, (own, theirs) in _FIXED.items():
        without = (name == "lora_mode" and not stated.loras) or getattr(dialect, name, None) == own
        if name not in stated.stated and not without:
            legacy = name == "noise" and noise_of(case) == "legacy"
            yield SettingRow(name, "legacy" if legacy else own, theirs, State.TOOL, "the tool's own")


def _row(
    stated: InferenceSettings,
    name: str,
    own: Scalar,
    *,
    same: bool | None = None,
    tool: bool = False,
    note: str = "",
) -> SettingRow:
    """Return the row of one setting: unknown where it is not stated, else compared as values are."""
    found = stated.stated.get(name)
    if found is None:
        return SettingRow(name, own, None, State.UNKNOWN, note=note)
    equal = found.value == own if same is None else same
    state = State.SAME if equal else State.TOOL if tool else State.DIFFERS
    return SettingRow(name, own, found.value, state, found.place, note)
