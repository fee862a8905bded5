"""What each loader makes of a LoRA file's keys: applied, ignored, or a reason to refuse the file.

Sources: ``lora_forms`` for diffusers; ComfyUI's ``comfy/lora.py``; AI Toolkit 0.12.26,
``toolkit/network_mixins.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import LoraError
from harness.schema.lora_forms import form_of, layer_of_key, modules_of, refuse_other_kinds
from harness.schema.lora_header import Tensor

_BLOCKS = r"(single_)?transformer_blocks"
_COMFY_SOURCES = re.compile(
    rf"(transformer\.{_BLOCKS}\.|lycoris_{_BLOCKS}_|lora_transformer_{_BLOCKS}_|lora_unet_(double|single)_blocks_"
    r"|diffusion_model\.(double|single)_blocks\.)"
)
_COMFY_ENDS = re.compile(
    r"\.(lora_[AB]\.weight|lora_(down|up)\.weight|alpha|dora_scale|lokr_\w+|hada_\w+|diff|diff_b)$"
)
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
        _sorted("ComfyUI", tensors, lambda key: _COMFY_SOURCES.match(key) and _COMFY_ENDS.search(key)),
        _sorted("AI Toolkit", tensors, (_TRAINER_LOKR if is_lokr else _TRAINER).match),
    )


def _diffusers(path: Path, tensors: Mapping[str, Tensor]) -> LoaderKeys:
    try:
        refuse_other_kinds(path, tensors)
    except LoraError as error:
        return LoaderKeys("diffusers", (), (), error.found)
    form = form_of(tensors)

    def applies(key: str) -> bool:
        source = layer_of_key(key)
        dropped = form == "down-up" and key.endswith(".alpha")
        return source is not None and not dropped and bool(modules_of(source, form))

    return _sorted("diffusers", tensors, applies)


def _sorted(loader: str, tensors: Mapping[str, Tensor], applies: Callable[[str], object]) -> LoaderKeys:
    applied = tuple(key for key in tensors if applies(key))
    return LoaderKeys(loader, applied, tuple(key for key in tensors if key not in {*applied}))
