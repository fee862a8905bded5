"""Which quantizer each linear layer gets: GGUF files of a model hold several types.

Source: ComfyUI-GGUF's ``tools/lcpp.patch``, which teaches llama-quantize image models. Layers have the names
that diffusers gives them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.schema.quantizers import is_left_out

_OUTSIDE = ("x_embedder", "context_embedder", "time_text_embed.", "norm_out.", "proj_out")
"""How the names of the layers begin that lie outside of the transformer's blocks."""
_ATTENTION = re.compile(r"transformer_blocks\.\d+\.attn\.(to_[qkv]|add_[qkv]_proj)")
"""Layers that a file holds as one, ``attn.qkv``: those of double blocks."""
_MIXED = {"gguf_q5_k_m": "gguf_q6_k", "gguf_q4_k_m": "gguf_q5_k", "gguf_q3_k_m": "gguf_q4_k"}
"""By the quantizer, what it has for these layers."""


def layer_quantizer(name: str, module: str, exclude: Sequence[str] = ()) -> str | None:
    """Return the quantizer of one layer of a model in the quantizer ``name``; None leaves it as it is.

    Args:
        module: the layer's name in the transformer or in T5.
        exclude: patterns of layers that stay as they are.
    """
    if is_left_out(module, exclude):
        return None
    if not name.startswith("gguf_"):
        return name
    if module.startswith(_OUTSIDE):
        return None
    return _MIXED.get(name, name) if _ATTENTION.fullmatch(module) else name
