"""Writing LoRA files: by hand, so that the reader is tested against the format, and in other tools' forms."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from harness.errors import LoraError
from harness.schema.lora_file import inspect_lora

A, B = "transformer.x.attn.to_q.lora_A.weight", "transformer.x.attn.to_q.lora_B.weight"
GOOD: dict[str, list[int]] = {A: [2, 6], B: [4, 2]}


def write(path: Path, shapes: dict[str, list[int]], metadata: object = None) -> Path:
    """Write a safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for key, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(offset))
    return path


def refused(path: Path) -> str:
    with pytest.raises(LoraError) as error:
        inspect_lora(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def rewrite(
    source: Path,
    out: Path,
    *,
    rename: Callable[[str], str | None] = lambda key: key,
    extra: Mapping[str, NDArray[Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write ``source`` again with other keys (None leaves one out), more tensors and changed metadata."""
    with safe_open(source, framework="np") as file:
        found = file.metadata() or {}
        tensors = {name: file.get_tensor(key) for key in file.keys() if (name := rename(key))}  # noqa: SIM118
    save_file({**tensors, **(extra or {})}, out, {**found, **(metadata or {})})
    return out


def software(version: str) -> dict[str, str]:
    """Return the metadata by which AI Toolkit ``version`` marks its files."""
    return {"software": json.dumps({"name": "ai-toolkit", "version": version})}


KOHYA = {
    "attn.to_out.0": "img_attn_proj",
    "ff.net.0.proj": "img_mlp_0",
    "ff.net.2": "img_mlp_2",
    "norm1.linear": "img_mod_lin",
    "attn.to_add_out": "txt_attn_proj",
    "ff_context.net.0.proj": "txt_mlp_0",
    "ff_context.net.2": "txt_mlp_2",
    "norm1_context.linear": "txt_mod_lin",
    "proj_out": "linear2",
    "norm.linear": "modulation_lin",
}
"""The layers that kohya's form has for one module each, by that module."""


def to_kohya(key: str) -> str | None:
    """Return kohya's name of one of AI Toolkit's keys; None for a module that shares a layer with others."""
    match = re.fullmatch(r"transformer\.(single_)?transformer_blocks\.(\d+)\.(.+)\.lora_([AB])\.weight", key)
    if match is None or match[3] not in KOHYA:
        return None
    blocks = "single" if match[1] else "double"
    side = {"A": "down", "B": "up"}[match[4]]
    return f"lora_unet_{blocks}_blocks_{match[2]}_{KOHYA[match[3]]}.lora_{side}.weight"


def to_comfyui(key: str) -> str | None:
    """Return ComfyUI's name of one of AI Toolkit's keys, with lora_A and lora_B."""
    if (name := to_kohya(key)) is None:
        return None
    layer, _, side = name.partition(".")
    match = re.fullmatch(r"lora_unet_(\w+)_blocks_(\d+)_(\w+)", layer)
    assert match is not None
    part = re.sub(r"_(attn|mlp|mod)_", r"_\1.", match[3]).replace("modulation_lin", "modulation.lin")
    side = side.replace("lora_down", "lora_A").replace("lora_up", "lora_B")
    return f"diffusion_model.{match[1]}_blocks.{match[2]}.{part}.{side}"


def to_down_up(key: str) -> str:
    return key.replace("lora_A", "lora_down").replace("lora_B", "lora_up")


def alphas(path: Path, value: float, rename: Callable[[str], str | None]) -> dict[str, NDArray[Any]]:
    """Return an alpha for each layer that the keys of ``path`` become."""
    with safe_open(path, framework="np") as file:
        names = [name for key in file.keys() if (name := rename(key))]  # noqa: SIM118
    layers = {re.sub(r"\.lora_\w+\.weight$", "", name) for name in names}
    return {f"{layer}.alpha": np.array(value, np.float16) for layer in layers}
