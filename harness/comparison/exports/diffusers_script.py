"""A case as a diffusers script that needs nothing of the harness."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from harness._util.real_paths import real_path
from harness.runs.plan import default_pipeline, noise_of
from harness.schema.case import Case

_DTYPES = {"bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16"}
_DTYPES |= {"fp32": "float32", "float32": "float32", "float": "float32"}


def diffusers_script(case: Case) -> str:
    """Return Python code that renders ``case`` as the reference does."""
    dtype = _DTYPES.get(case.trained.dtype or "bf16", "bfloat16")
    legacy = noise_of(case) == "legacy"
    imports = ["import torch", _diffusers(case)]
    if legacy:
        imports = ["import math", "", "import numpy as np", *imports]
    parts = [
        f'"""Render {case.id} as the reference pipeline does."""',
        "\n".join(imports),
        *([_legacy_noise()] if legacy else []),
        _load(case, dtype),
        *_lora(case),
        *_scheduler(case),
        _call(case, dtype, legacy=legacy),
    ]
    return "\n\n".join(parts) + "\n"


def _diffusers(case: Case) -> str:
    if case.spec.hub_code:
        return "from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler"
    module, _, name = case.spec.pipeline.partition(":")
    return f"from {module} import {name}"


def _load(case: Case, dtype: str) -> str:
    base, spec = case.base, case.spec
    source = repr(base.repo or str(_folder(case)))
    revision = f"\n    revision={base.revision!r}," if base.revision else ""
    note, name, code = "", spec.pipeline.rpartition(":")[2], ""
    if spec.hub_code:
        note, name = f"{_hub_note(case)}\n", "DiffusionPipeline"
        custom = source if default_pipeline(base, spec) == "hub" else repr(spec.hub_repo)
        code = f"    custom_pipeline={custom},\n    trust_remote_code=True,\n"
    cast = ""
    if case.encoder_dtype is not None and _DTYPES[case.encoder_dtype] == dtype:
        cast = (
            f"pipe.text_encoder_2.to(torch.{_DTYPES[case.encoder_dtype]})  # all of it, as the trainer does\n"
        )
    return (
        f"{note}pipe = {name}.from_pretrained(\n    {source},{revision}\n{code}"
        f"    dtype=torch.{dtype},\n)\n{cast}"
        'pipe.to("cuda" if torch.cuda.is_available() else "cpu")'
    )


def _hub_note(case: Case) -> str:
    if case.base.repo is None:
        return f"# A folder without a pipeline.py runs that of {case.spec.hub_repo}: read it first."
    note = "# Runs the repository's own pipeline.py: read it first."
    return note if case.base.revision else f"{note} Pin the commit that you read with revision=."


def _folder(case: Case) -> Path:
    from harness.data import CHECKPOINTS

    if case.base.embedded is not None:
        return Path(CHECKPOINTS / case.base.embedded)
    return real_path(case.folder / (case.base.path or ""))


def _lora(case: Case) -> list[str]:
    path = case.lora_path
    if case.lora is None or path is None:
        return []
    folder, name = str(path.parent), path.name
    return [
        f"pipe.load_lora_weights({folder!r}, weight_name={name!r}, adapter_name='lora')\n"
        f"pipe.fuse_lora(adapter_names=['lora'], lora_scale={case.lora.network_multiplier})\n"
        "pipe.unload_lora_weights()"
    ]


def _scheduler(case: Case) -> list[str]:
    if case.spec.keeps_scheduler:
        return []
    arguments = "".join(f"    {name}={value!r},\n" for name, value in case.spec.scheduler.items())
    return [f"pipe.scheduler = FlowMatchEulerDiscreteScheduler(\n{arguments})"]


def _call(case: Case, dtype: str, *, legacy: bool) -> str:
    settings = case.settings
    width, height = case.spec.snap(settings.width, settings.height)
    more, before = "", ""
    if legacy:
        size = 16 * (height // 8) * (width // 8)
        before = (
            f"noise = _legacy({size}, {settings.seed}, torch.{dtype})\n"
            f"noise = noise.reshape(1, 16, {height} // 8, {width} // 8)\n"
            "latents = pipe._pack_latents(noise.to(pipe.device), *noise.shape)\n"
        )
        more = "    latents=latents,\n"
    return (
        f"{before}image = pipe(\n    prompt={settings.prompt!r},\n    width={width},\n    height={height},\n"
        f"    num_inference_steps={settings.sample_steps},\n    guidance_scale={settings.guidance_scale},\n"
        f"    max_sequence_length={case.spec.max_sequence_length},\n"
        f'    generator=torch.Generator("cpu").manual_seed({settings.seed}),\n{more}).images[0]\n'
        f"image.save({case.id.replace('/', '_') + '.png'!r})"
    )


def _legacy_noise() -> str:
    """Return the source of the functions that draw the noise of torch 2.11 and older."""
    from harness.pipeline import noise

    functions = (noise._legacy, noise._box_muller, noise._tables)
    sources = [inspect.getsource(function).removeprefix("@cache\n") for function in functions]
    body = "\n\n".join(source.replace("    import torch\n\n", "") for source in sources)
    body = re.sub(r"NDArray\[[\w.]+\]", "np.ndarray", body.replace("mersenne: Any", "mersenne"))
    return f"BLOCK = {noise.BLOCK}\n\n\n{body}"
