"""What each loader makes of a LoRA file's keys: applied, ignored, or a reason to refuse the file.

Sources: ``lora_forms`` for diffusers; ComfyUI's ``comfy/lora.py``; AI Toolkit 0.12.26,
``toolkit/network_mixins.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import LoraError
from harness.schema.lora_forms import (
    find_layers,
    form_of,
    is_module,
    layer_names,
    modules_of_key,
    refuse_other_kinds,
)
from harness.schema.lora_header import Tensor

_BLOCKS = r"(single_)?transformer_blocks"
_COMFY_ENDS = re.compile(
    r"(\.(lora_[AB](\.default)?\.weight|lora[_.](down|up)\.weight|lora_mid\.weight|lora_linear_layer\.(down|up)\.weight"
    r"|alpha|dora_scale|lokr_\w+|hada_\w+|diff|diff_b|set_weight|reshape_weight|[wb]_norm)|_lora\.(down|up)\.weight)$"
)
_DOTTED = re.compile(r"(?<=[a-z0-9])_(?=(qkv|proj|lin|0|2)$)")
"""Where a part of a block has a dot in Black Forest Labs' names."""
_CLIP = r"(mlp[._]fc[12]|self_attn[._][kqv]_proj|self_attn[._]out_proj)"
_COMFY_TEXT = re.compile(
    rf"lora_te1?_text_model_encoder_layers_\d+_{_CLIP}|text_encoder\.text_model\.encoder\.layers\.\d+\.{_CLIP}"
    r"|lora_te2_encoder_block_\d+_layer_\d+_\w+|text_encoders\..+"
)
"""Layers of CLIP and T5, which its LoRA loader applies where it is given them."""
_TRAINER = re.compile(rf"transformer\.{_BLOCKS}\.\d+\..+\.lora_[AB]\.weight$")
_TRAINER_LOKR = re.compile(rf"transformer\.{_BLOCKS}\.\d+\..+\.(lokr_w[12](_[ab])?|lokr_t2|alpha)$")
"""What it saves and loads where the job's network is a LoKr, which alone has an alpha there."""


@dataclass(frozen=True)
class LoaderKeys:
    """What one loader does with the keys of a file.

    Attributes:
        refused: why it takes none of the file; None where it takes it.
    """

    loader: str
    applied: tuple[str, ...]
    ignored: tuple[str, ...]
    refused: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return counts, and the names of the keys that do nothing."""
        return {
            "loader": self.loader,
            "applied": len(self.applied),
            "ignored": list(self.ignored),
            "refused": self.refused,
        }


def audit_keys(path: Path, tensors: Mapping[str, Tensor]) -> tuple[LoaderKeys, ...]:
    """Return what diffusers, ComfyUI and AI Toolkit do with every key of a file."""
    is_lokr = any(".lokr_" in key for key in tensors)
    return (
        _diffusers(path, tensors),
        _sorted("ComfyUI", tensors, _comfyui_applies),
        _sorted("AI Toolkit", tensors, (_TRAINER_LOKR if is_lokr else _TRAINER).match),
    )


def _diffusers(path: Path, tensors: Mapping[str, Tensor]) -> LoaderKeys:
    form = form_of(tensors)
    try:
        refuse_other_kinds(path, tensors)
        if form == "mixture":  # its converter fails at a key that it does not know
            find_layers(path, tensors, form)
    except LoraError as error:
        return LoaderKeys("diffusers", (), (), error.found)

    def applies(key: str) -> bool:
        dropped = form == "down-up" and key.endswith(".alpha")
        modules = modules_of_key(key, form)
        return not dropped and bool(modules) and all(map(is_module, modules))

    return _sorted("diffusers", tensors, applies)


def _comfyui_applies(key: str) -> bool:
    match = _COMFY_ENDS.search(key)
    source = key[: match.start()] if match else ""
    return source in _comfy_sources() or _COMFY_TEXT.fullmatch(source) is not None


@cache
def _comfy_sources() -> frozenset[str]:
    """Return ComfyUI's names of every linear layer of the model."""
    names = layer_names()
    found = {f"lora_unet_{name.replace('.', '_')}" for name in names}
    found |= {f"diffusion_model.{_DOTTED.sub('.', name)}" for name in names}
    for module in (module for modules in names.values() for module in modules):
        flat = module.replace(".", "_")
        found |= {module, f"transformer.{module}", f"lora_transformer_{flat}", f"lycoris_{flat}"}
    return frozenset(found)


def _sorted(loader: str, tensors: Mapping[str, Tensor], applies: Callable[[str], object]) -> LoaderKeys:
    applied = tuple(key for key in tensors if applies(key))
    return LoaderKeys(loader, applied, tuple(key for key in tensors if key not in {*applied}))
