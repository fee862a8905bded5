"""The settings that were found, as diffusers code that a user can run."""

from __future__ import annotations

from typing import Any

from harness.pipeline.schedulers import find_scheduler
from harness.schema.case import Case
from harness.schema.quantizers import ALONE, QUANTIZERS, quantizer_of
from harness.schema.render import RenderRequest

_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16", "fp32": "torch.float32"}


def recipe(case: Case, request: RenderRequest, dtype: str) -> str:
    """Return Python code that renders ``request`` as this harness does.

    Args:
        dtype: ``bf16``, ``fp16`` or ``fp32``, as rendered.
    """
    weights = [_quantize(request), _lora(request)]
    if request.effective_lora_mode == "fp32":  # before the weights are quantized
        weights.reverse()
    lines = [*_load(request, dtype), *weights[0], *weights[1]]
    return "\n".join([*lines, *_scheduler(request), *_call(case, request, dtype)])


def _load(request: RenderRequest, dtype: str) -> list[str]:
    base, (module, _, name) = request.base, request.spec.pipeline.partition(":")
    if base.embedded is not None:
        source = f"CHECKPOINTS / {base.embedded!r}"
        first = ["from harness.data import CHECKPOINTS"]
    else:
        source, first = repr(base.repo or base.path), []
    revision = f", revision={base.revision!r}" if base.revision else ""
    lines = [
        "import torch",
        *first,
        f"from {module} import {name}",
        "",
        f"pipe = {name}.from_pretrained({source}{revision}, dtype={_DTYPES[dtype]})",
        *([f"pipe.text_encoder_2.to({_DTYPES[request.encoder_dtype]})"] if request.encoder_dtype else []),
        'pipe.to("cuda" if torch.cuda.is_available() else "cpu")',
        "",
        "from harness.pipeline.attention import set_t5_attention",
        f"set_t5_attention(pipe.text_encoder_2, {request.t5_attention!r})",
    ]
    return lines


def _quantize(request: RenderRequest) -> list[str]:
    name, found = quantizer_of(request.quantize)
    if name is None:
        return []
    own = _left_out(request) + (f", unpacking={request.unpacking!r}" if request.unpacking != "fp16" else "")
    parts = [(part, own if part == "transformer" else "") for part in sorted(found, reverse=True)]
    if QUANTIZERS[name].library == "optimum-quanto" and not _names_alone(request):
        calls = [f"quantize(pipe.{part}, weights={name}{more}); freeze(pipe.{part})" for part, more in parts]
        return ["", f"from optimum.quanto import freeze, {name}, quantize", "", *calls]
    calls = [f"quantize_part(pipe.{part}, {name!r}{more})" for part, more in parts]
    return ["", "from harness.pipeline.quantize import quantize_part", "", *calls]


def _names_alone(request: RenderRequest) -> bool:
    """Whether patterns say what alone is quantized, which the library's own call would need names for."""
    return any(pattern.startswith(ALONE) for pattern in request.layers_left_out)


def _left_out(request: RenderRequest) -> str:
    """Return the argument that names the transformer's layers which stay as they are, if any."""
    return f", exclude={list(request.layers_left_out)!r}" if request.layers_left_out else ""


def _lora(request: RenderRequest) -> list[str]:
    mode = request.effective_lora_mode
    if request.lora is None or mode == "none":
        return []
    file, scale = str(request.lora.file), request.lora.network_multiplier
    if mode == "fused":
        folder, name = str(request.lora.file.parent), request.lora.file.name
        return [
            "",
            f"pipe.load_lora_weights({folder!r}, weight_name={name!r}, adapter_name='lora')",
            f"pipe.fuse_lora(adapter_names=['lora'], lora_scale={scale})",
            "pipe.unload_lora_weights()",
        ]
    if mode in {"merged", "stochastic"}:
        return [
            "",
            "from pathlib import Path",
            "from harness.schema.lora_file import inspect_lora",
            "from harness.pipeline.rounded_merge import merge_rounded",
            f"merge_rounded(pipe.transformer, inspect_lora(Path({file!r})), {scale}, "
            f"{request.transformer_quantizer!r}, {mode!r}{_left_out(request)})",
        ]
    name, call = {
        "fp32": ("merge_fp32", "merge_fp32"),
        "unpacked": ("merge_unpacked", "merge_unpacked"),
    }.get(mode, ("LiveAdapter", "LiveAdapter().attach"))
    dtype = ", pipe.transformer.dtype" if mode == "peft" else ""
    return [
        "",
        "from pathlib import Path",
        "from harness.schema.lora_file import inspect_lora",
        f"from harness.pipeline.lora_adapter import {name}",
        f"{call}(pipe.transformer, inspect_lora(Path({file!r})), {scale}{dtype})",
    ]


def _scheduler(request: RenderRequest) -> list[str]:
    choice = find_scheduler(request.scheduler)
    config: dict[str, Any] = {**request.shift.config(request.spec), **choice.options}
    arguments = "".join(f"    {name}={value!r},\n" for name, value in config.items())
    if choice.class_name == "FlowMatchEulerDiscreteScheduler":
        return [
            "",
            "from diffusers import FlowMatchEulerDiscreteScheduler",
            f"pipe.scheduler = FlowMatchEulerDiscreteScheduler(\n{arguments})",
        ]
    return [
        "",
        "from harness.pipeline.solver_shims import construct",
        f"pipe.scheduler = construct({choice.class_name!r}, dict(\n{arguments}))",
    ]


def _call(case: Case, request: RenderRequest, dtype: str) -> list[str]:
    width, height = request.size()
    lines = [""]
    extra = ""
    if request.noise != "auto":
        lines += [
            "from harness.pipeline.noise import draw",
            f"noise = draw((1, 16, {height} // 8, {width} // 8), {request.seed}, {_DTYPES[dtype]}, "
            f"{request.noise!r}).to(pipe.device)",
            "latents = pipe._pack_latents(noise, *noise.shape)",
        ]
        extra += "    latents=latents,\n"
    if request.max_sequence_length is not None:
        extra += f"    max_sequence_length={request.max_sequence_length},\n"
    if find_scheduler(request.scheduler).stochastic:
        lines.append(f"torch.manual_seed({request.seed})")
    call = (
        "image = pipe(\n"
        f"    {request.prompt!r},\n"
        f"    width={width},\n"
        f"    height={height},\n"
        f"    num_inference_steps={request.sample_steps},\n"
        f"    guidance_scale={request.guidance_scale},\n"
        f"    generator=torch.Generator({request.generator!r}).manual_seed({request.seed}),\n"
        f"{extra}"
        ").images[0]"
    )
    context = ""
    if request.attention is not None:
        lines.append("from diffusers.models.attention_dispatch import attention_backend")
        context = f"with attention_backend({request.attention!r}):\n"
        call = "\n".join("    " + line for line in call.splitlines())
    name = case.id.replace("/", "_")
    return [*lines, f"{context}{call}", f"image.save({name + '.png'!r})", ""]
