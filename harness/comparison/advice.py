"""What to change so that a tool renders the preview, in the tool's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.comparison.setting_row import EXTRA_LORA, SettingRow, State
from harness.importers.image_metadata.graph_text import NO_GUIDANCE
from harness.importers.image_metadata.inference_settings import Tool
from harness.schema.case import Case
from harness.schema.quantizers import quantizer_of

NOTHING = "Nothing you can set: "

_FORGE = {
    "guidance_scale": "Distilled CFG Scale", "sample_steps": "Steps", "seed": "Seed", "cfg": "CFG Scale",
    "sampler": "Sampler", "generator": "Settings > RNG", "schedule": "Schedule type", "size": "Width, Height",
}  # fmt: skip
_PLACED = frozenset({"base", "quantize"})
"""Settings that Forge has in several places: the row's own is said."""
_SCRIPT = {
    "guidance_scale": "guidance_scale={0}",
    "sample_steps": "num_inference_steps={0}",
    "seed": 'generator=torch.Generator("cpu").manual_seed({0})',
    "generator": 'draw on the CPU: generator=torch.Generator("cpu").manual_seed(…)',
    "prompt": "prompt={0!r}",
    "network_multiplier": 'pipe.fuse_lora(adapter_names=["lora"], lora_scale={0})',
    "lora_mode": "fuse the LoRA: pipe.fuse_lora(), instead of set_adapters() alone",
    "max_sequence_length": "max_sequence_length={0}",
    "dtype": "dtype=torch.{0}",
    "shift": "pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, "
    "use_dynamic_shifting=True)",
    "noise": "draw the first latents as torch of the preview's era does: harness export diffusers writes how",
}
_SCRIPT_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_SERVER = {
    "prompt": "prompts[0].prompt", "seed": "prompts[0].seed", "sample_steps": "prompts[0].sample_steps",
    "guidance_scale": "prompts[0].guidance_scale", "size": "prompts[0].width and height",
    "lora": "loras[0].path", "network_multiplier": "loras[0].network_multiplier",
}  # fmt: skip
_TINY = frozenset({"latents", "timestep", "rounding", "kernels", "lora_mode", "t5_attention"})


def advice(case: Case, tool: Tool, rows: list[SettingRow]) -> list[str]:
    """Return one line for each difference: what to set where, or that nothing can be set."""
    differing = [row for row in rows if row.state in {State.DIFFERS, State.TOOL}]
    lines = [_line(case, tool, row) for row in differing if row.setting not in _TINY]
    tiny = [row.setting for row in differing if row.setting in _TINY and row.state is State.TOOL]
    if tiny:
        are = "are this tool's way; together they are tiny" if tiny[1:] else "is this tool's way, and tiny"
        lines.append(f"{NOTHING}{', '.join(tiny)} {are}")
    lines += [
        _line(case, tool, row) for row in differing if row.setting in _TINY and row.state is State.DIFFERS
    ]
    return [line for line in lines if line]


def _line(case: Case, tool: Tool, row: SettingRow) -> str:
    if row.note == EXTRA_LORA:
        return f"{row.place or row.setting}: remove {row.inference}, which the preview was rendered without"
    return _ADVISERS.get(tool, _case_words)(case, row)


def _comfyui(case: Case, row: SettingRow) -> str:
    own = row.preview
    known = _COMFYUI.get(row.setting)
    if known is not None:
        return known(case, row)
    if row.setting == "lora" and row.inference == "none":
        return f"load {own}: {row.note or 'no LoRA node reaches the sampler'}"
    if row.setting == "prompt_weights":
        return f"{row.place}: write \\( and \\) for the brackets of {row.inference}"
    return f"{row.place}: {row.inference} → {own}"


def _quantize(_case: Case, row: SettingRow) -> str:
    if row.preview != "none":
        return f"{NOTHING}the base is {row.inference} here, the preview had {row.preview}"
    stored, parts = quantizer_of(str(row.inference))
    wanted = "a file in fp16 or bf16" + (" with weight_dtype default" if "transformer" in parts else "")
    return f"{row.place}: {stored} → {wanted}"


def _guidance(_case: Case, row: SettingRow) -> str:
    if row.place == NO_GUIDANCE:
        return (
            f"add FluxGuidance behind the text encoder: guidance {row.preview} (without it {row.inference})"
        )
    return f"{row.place}: {row.inference} → {row.preview}"


def _blanks(_case: Case, row: SettingRow) -> str:
    where = row.place or "Flex2Conditioner"
    return (
        f"{NOTHING}FlexTools normalises the blank conditions ({where}); the node that harness export comfy "
        "writes repairs them behind it"
    )


def _tokens(_case: Case, row: SettingRow) -> str:
    return (
        "add T5TokenizerOptions between the CLIP loader and the text encoder: min_padding 0, "
        f"min_length {row.preview}"
    )


def _model_sampling(case: Case, row: SettingRow) -> str:
    return (
        "add ModelSamplingFlux before the conditioner: max_shift 1.15, base_shift 0.5, width "
        f"{case.preview.width}, height {case.preview.height} (now {row.inference}, the preview {row.preview})"
    )


def _scheduler(_case: Case, row: SettingRow) -> str:
    return "" if row.inference == "simple" else f"{row.place}: {row.inference} → simple"


def _noise(_case: Case, row: SettingRow) -> str:
    if row.preview != "legacy":
        return ""
    return f"{NOTHING}the preview's noise is of torch 2.11 or older, which no seed of this tool draws"


_COMFYUI: Mapping[str, Callable[[Case, SettingRow], str]] = MappingProxyType({
    "noise": _noise, "blanks": _blanks, "max_sequence_length": _tokens, "shift": _model_sampling,
    "schedule": _scheduler, "quantize": _quantize, "guidance_scale": _guidance,
})  # fmt: skip


def _forge(case: Case, row: SettingRow) -> str:
    own = row.preview
    if row.setting == "noise":
        return _noise(case, row)
    if row.setting in {"shift", "max_sequence_length", "blanks"}:
        return f"{NOTHING}{row.setting} is {row.inference} here, the preview had {own}"
    if row.setting == "schedule":
        return "" if row.inference == "simple" else f"Schedule type: {row.inference} → Simple"
    if row.setting == "network_multiplier":
        return f"in the prompt, <lora:…:{row.inference:g}> → <lora:…:{own:g}>"
    if row.setting == "lora":
        return f"in the prompt, <lora:…>: {row.inference} → {own}"
    place = row.place if row.setting in _PLACED else _FORGE.get(row.setting, row.setting)
    return f"{place}: {row.inference} → {own}"


def _script(_case: Case, row: SettingRow) -> str:
    own = row.preview
    if row.setting == "lora":
        if row.preview == "none":
            return "leave load_lora_weights out: the preview shows the base model alone"
        file = str(own).partition(" (")[0]
        return f'pipe.load_lora_weights(FOLDER, weight_name="{file}"), then pipe.fuse_lora()'
    if row.setting == "dtype":
        own = _SCRIPT_DTYPES.get(str(own), own)
    line = _SCRIPT.get(row.setting)
    return line.format(own) if line else f"{row.setting}: {row.inference} → {own}"


def _server(_case: Case, row: SettingRow) -> str:
    field = _SERVER.get(row.setting)
    if field is None:
        return f"{NOTHING}{row.setting} is {row.inference} on the server, the preview had {row.preview}"
    return f"{field}: {row.inference} → {row.preview}"


def _case_words(_case: Case, row: SettingRow) -> str:
    return f"{row.setting}: {row.inference} → {row.preview}"


_ADVISERS: Mapping[Tool, Callable[[Case, SettingRow], str]] = MappingProxyType({
    Tool.COMFYUI: _comfyui,
    Tool.SWARMUI: _comfyui,
    Tool.FORGE: _forge,
    Tool.DIFFUSERS: _script,
    Tool.REFERENCE_SERVER: _server,
})  # fmt: skip
