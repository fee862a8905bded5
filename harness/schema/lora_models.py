"""Which model a file is of, where it is plainly no LoRA of Flex: by its keys, its blocks and its sizes.

Sources: the keys that AI Toolkit 0.12.26, kohya's scripts, ComfyUI and diffusers 0.42.1 know for each model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.errors import LoraError
from harness.schema.lora_header import Tensor
from harness.schema.spec import MODELS

_ROOT = r"^(?:transformer\.|diffusion_model\.|base_model\.model\.|lora_unet_|lora_transformer_|lycoris_)?"
_KEYS: Final[tuple[tuple[str, str], ...]] = (
    (r"(?:^|[._])(?:down_blocks|up_blocks|mid_block|(?:in|out)put_blocks|middle_block)[._]", "SD or SDXL"),
    (r"(?:double|single)_stream_blocks[._]", "HiDream"),
    (rf"{_ROOT}transformer_blocks[._]\d+[._](?:img|txt)_(?:mlp|mod)[._]", "Qwen-Image"),
    (r"[._]to_qkv_mlp_proj\b|(?:double|single)_stream_modulation", "FLUX.2"),
    (r"[._]distilled_guidance_layer[._]", "Chroma"),
    (rf"{_ROOT}blocks[._]\d+[._](?:(?:self|cross)_attn[._][qkvo]\.|ffn[._]|attn[12][._])", "Wan"),
    (rf"{_ROOT}layers[._]\d+[._](?:attention|feed_forward)[._]", "Z-Image or Lumina"),
    (rf"{_ROOT}joint_blocks[._]", "Stable Diffusion 3"),
    (rf"{_ROOT}transformer_blocks[._]\d+[._]attn[12][._]", "LTX, PixArt or Stable Diffusion 3.5"),
)
"""What only one model's keys hold, and that model."""
_NAMES = frozenset(model for _, model in _KEYS) | {"FLUX.2"}

_BLOCK = re.compile(rf"{_ROOT}(?:(?P<single>single_)|double_)?(?:transformer_)?blocks[._](?P<index>\d+)[._]")
_DOUBLE, _FLUX1_DOUBLE, _SINGLE = 8, 19, 38
"""Double blocks of Flex.2 and Flex.1, and those of FLUX.1; single blocks of all three."""

_WIDE = (4096, 6144)
"""Widths of FLUX.2 klein 9B and FLUX.2 dev; Flex is 3072 wide, and test checkpoints less."""
_GATED = 9
"""Rows of FLUX.2's ``linear1`` for each of its columns, since its MLP is gated; Flex and FLUX.1 have 7."""

_FLEX = (*MODELS, "flux.1", "flux1")
"""What metadata of a Flex LoRA call its model; AI Toolkit trains Flex.1 as ``flux.1``."""

_FLUX1, _ANOTHER = "FLUX.1", "another model"
_FIX = "give a LoRA that was trained on Flex.2"


_ADAPTER = re.compile(r"lora|lokr|loha|hada|dora|oft|alpha|diff|magnitude", re.IGNORECASE)


def refuse_other_model(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Refuse a whole model, and a LoRA that is plainly of another one than Flex.2 and Flex.1.

    Raises:
        LoraError: names the model, and what shows it.
    """
    like = next(iter(tensors), "")
    if tensors and not any(map(_ADAPTER.search, tensors)):
        raise LoraError(f"holds a model's own weights ({like}), and no LoRA", file=path, fix=_FIX)
    named = metadata.get("ss_base_model_version", "")
    named = "" if named in _FLEX else named[:60]
    found = _by_keys(tensors) or _by_width(tensors) or _by_blocks(tensors)
    if found is None and named and not any(map(_BLOCK.match, tensors)):
        found = _ANOTHER, f"it has keys like {like}"
    if found is None:
        return
    model, why = found
    if named:
        model, why = (model if model in _NAMES else repr(named)), f"{why}, and its metadata say {named!r}"
    also = "; for ComfyUI, the LoRA loader of ComfyUI-FlexTools makes one of it" if model == _FLUX1 else ""
    raise LoraError(f"is a LoRA of {model}, not of Flex.2: {why}", file=path, fix=f"{_FIX}{also}")


def _by_keys(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    for pattern, model in _KEYS:
        for key in filter(re.compile(pattern).search, tensors):
            return model, f"it has keys like {key}"
    return None


def _by_width(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return FLUX.2, whose keys may be Flex's, where the factors of a block have its sizes."""
    for key, tensor in tensors.items():
        match = re.search(r"[._](?:to_q|qkv|linear1)\.lora_(?P<side>A|down)\.weight$", key)
        if match is None or not _BLOCK.match(key) or len(tensor.shape) != 2:
            continue
        wide, name = tensor.shape[1], key[: match.start("side") - len(".lora_")]
        up = tensors.get(f"{name}.lora_{'B' if match['side'] == 'A' else 'up'}.weight")
        if wide in _WIDE or (name.endswith("linear1") and up is not None and up.shape[0] == _GATED * wide):
            return "FLUX.2", f"its {name} is {up.shape[0] if up is not None else '?'}×{wide}"
    return None


def _by_blocks(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return what has blocks that Flex has not."""
    matches = [match for key in tensors if (match := _BLOCK.match(key))]
    last_double = max((int(match["index"]) for match in matches if not match["single"]), default=0)
    last_single = max((int(match["index"]) for match in matches if match["single"]), default=0)
    if last_double < _DOUBLE and last_single < _SINGLE:
        return None
    model = _FLUX1 if last_double < _FLUX1_DOUBLE and last_single < _SINGLE else _ANOTHER
    kind, last, own = (
        ("double", last_double, _DOUBLE) if last_double >= _DOUBLE else ("single", last_single, _SINGLE)
    )
    return model, f"it has {kind} blocks up to {last}, and Flex.2's end at {own - 1}"
