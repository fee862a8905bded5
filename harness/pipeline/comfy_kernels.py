"""ComfyUI's arithmetic in a Flux transformer, in the places where it rounds otherwise than diffusers.

A normalised state is scaled and shifted in one multiply-add, rounded once; diffusers rounds the product too.
On a CPU, scores and probabilities of the attention are rounded to the model's dtype; on a GPU it is torch's
``scaled_dot_product_attention`` in both. Facts from ComfyUI 0.3.64; with both, its pictures of
``tests/data/inference_images`` are rendered bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.transformers import transformer_flux

from harness.pipeline.transformer_calls import replaced_forward

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel


@contextmanager
def comfy_kernels(transformer: FluxTransformer2DModel) -> Iterator[None]:
    """Let ``transformer`` compute as ComfyUI does on its device."""
    forwards = [(transformer.norm_out, _last_norm(transformer.norm_out))]
    for block in transformer.transformer_blocks:
        for first, second in ((block.norm1, block.norm2), (block.norm1_context, block.norm2_context)):
            forwards += zip((first, second), _block_norms(first, second), strict=True)
    forwards += [(block.norm, _single_norm(block.norm)) for block in transformer.single_transformer_blocks]
    dispatch = transformer_flux.dispatch_attention_fn

    def attention(query: torch.Tensor, *args: Any, **options: Any) -> Any:
        chosen = rounded_attention if query.device.type == "cpu" else dispatch
        return chosen(query, *args, **options)

    transformer_flux.dispatch_attention_fn = attention
    try:
        with ExitStack() as stack:
            for norm, forward in forwards:
                stack.enter_context(replaced_forward(norm, forward))
            yield
    finally:
        transformer_flux.dispatch_attention_fn = dispatch


def rounded_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
    """Return attention whose scores and probabilities are rounded to the inputs' dtype.

    Args:
        query: batch × tokens × heads × width, as key and value.
    """
    batch, _tokens, heads, width = query.shape
    queries, keys, values = (each.transpose(1, 2).flatten(0, 1) for each in (query, key, value))
    unused = torch.empty(1, 1, 1, dtype=query.dtype, device=query.device)
    scores = torch.baddbmm(unused, queries, keys.transpose(1, 2), beta=0, alpha=width**-0.5)
    made = torch.bmm(scores.softmax(dim=-1), values)
    return made.view(batch, heads, -1, width).transpose(1, 2)


def _scaled(state: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return ``state`` (batch × tokens × width), scaled by 1 + ``scale`` and shifted (batch × width)."""
    return torch.addcmul(shift[:, None], state, 1 + scale[:, None])


def _block_norms(first: Any, second: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the forwards of a block's norms before attention and before its MLP.

    The block itself scales and shifts after the second one: it is given zeros to do it with, which changes
    nothing, and the second norm what they stand for.
    """
    own_second = second.forward
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before_attention(state: torch.Tensor, emb: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = first.linear(first.silu(emb)).chunk(6, dim=1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
        waiting[:] = [(mlp_scale, mlp_shift)]
        nothing = torch.zeros_like(mlp_shift)
        return _scaled(first.norm(state), scale, shift), gate, nothing, nothing, mlp_gate

    def before_mlp(state: torch.Tensor) -> torch.Tensor:
        return _scaled(own_second(state), *waiting.pop())

    return before_attention, before_mlp


def _single_norm(norm: Any) -> Callable[..., Any]:
    def forward(state: torch.Tensor, emb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shift, scale, gate = norm.linear(norm.silu(emb)).chunk(3, dim=1)
        return _scaled(norm.norm(state), scale, shift), gate

    return forward


def _last_norm(norm: Any) -> Callable[..., Any]:
    def forward(state: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        scale, shift = norm.linear(norm.silu(emb).to(state.dtype)).chunk(2, dim=1)
        return _scaled(norm.norm(state), scale, shift)

    return forward
