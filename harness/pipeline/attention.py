"""The kernels that compute attention: diffusers' backends in the transformer, eager or sdpa in T5."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import MethodType
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.schema.versions import T5Attention

if TYPE_CHECKING:
    import torch
    from transformers import T5EncoderModel


def attention_kernel(name: str | None) -> AbstractContextManager[None]:
    """Return a context in which diffusers' backend ``name`` computes attention; None keeps the active one.

    Raises:
        HarnessError: diffusers has no such backend.
    """
    if name is None:
        return nullcontext()
    from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend

    known = [backend.value for backend in AttentionBackendName]
    if name not in known:
        raise HarnessError(f"unknown backend {name!r}", field="attention", fix=f"choose {', '.join(known)}")
    return attention_backend(name)  # type: ignore[no-any-return]


def active_attention() -> str:
    """Return the name of the backend that is active."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return str(_AttentionBackendRegistry.get_active_backend()[0].value)


def set_t5_attention(encoder: T5EncoderModel, kind: T5Attention) -> None:
    """Let every layer of ``encoder`` compute its attention as ``kind`` says, whatever transformers does.

    ``eager`` multiplies, adds the position bias and takes the softmax, each rounded to the weights' dtype, as
    transformers before 5.15 does. ``sdpa`` is torch's ``scaled_dot_product_attention``, its default since.
    """
    if encoder._supports_sdpa:
        encoder.set_attn_implementation(kind)
        return
    for layer in encoder.encoder.block:
        attention = layer.layer[0].SelfAttention
        attention.__dict__.pop("forward", None)
        if kind == "sdpa":
            attention.forward = MethodType(_sdpa_forward, attention)


def _sdpa_forward(
    attention: Any,
    hidden_states: torch.Tensor,
    mask: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, ...]:
    """Stand in for ``T5Attention.forward`` of transformers before 5.15: self-attention, without a cache.

    Args:
        hidden_states: batch × tokens × width.
        mask: added to the scores; batch × 1 × 1 or tokens × tokens.
        position_bias: what the first layer returned, the mask included; 1 × heads × tokens × tokens.
    """
    import torch

    batch, tokens, _width = hidden_states.shape
    query, key, value = (
        project(hidden_states).view(batch, tokens, attention.n_heads, -1).transpose(1, 2)
        for project in (attention.q, attention.k, attention.v)
    )
    if position_bias is None:
        position_bias = attention.compute_bias(tokens, tokens, device=hidden_states.device)
        position_bias = position_bias if mask is None else position_bias + mask
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=position_bias, scale=1.0
    )
    return attention.o(found.transpose(1, 2).reshape(batch, tokens, -1)), position_bias
