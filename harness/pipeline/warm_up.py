"""What a first render launches on a GPU, launched once on zeros while libraries are still imported.

CUDA loads every kernel when it is first launched, and cuBLAS and cuDNN set themselves up. Nothing is kept of
it, and no random number is drawn. Sizes are those of the checkpoint's own configurations, so that the same
kernels are chosen; what they do not say is left to the render.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.pipeline.checkpoint import read_json
from harness.schema.render import RenderRequest

CLIP_TOKENS = 77

Config = Mapping[str, Any]


def warm_up(folder: Path, request: RenderRequest, dtype: torch.dtype, device: str) -> None:
    """Launch what ``request`` will; a part whose configuration is of another kind is left out.

    Args:
        folder: a checkpoint of Flux's architecture.
    """
    width, height = request.size()
    text = request.max_sequence_length or request.spec.max_sequence_length
    tokens = (width // 16) * (height // 16)
    parts: dict[str, Callable[[Config, Tensor], None]] = {
        "text_encoder": clip,
        "text_encoder_2": lambda config, zero: t5(config, zero, text, request.t5_attention or "eager"),
        "transformer": lambda config, zero: transformer(config, zero, tokens, text),
        "vae": lambda config, zero: decoder(config, zero, height // 8, width // 8),
    }
    zero = torch.zeros(1, dtype=dtype, device=device)
    for name, launch in parts.items():
        with suppress(Exception), torch.inference_mode():  # foreign files, or no room: the render says it
            launch(read_json(folder / name / "config.json"), zero)


def clip(config: Config, zero: Tensor) -> None:
    """Launch CLIP's text encoder: one layer."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    state = _embedded(zero, config["vocab_size"], width, CLIP_TOKENS)
    state = functional.layer_norm(state, (width,), zero.expand(width), zero.expand(width))
    query = _linear(state, width).view(1, CLIP_TOKENS, heads, -1).transpose(1, 2)
    functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    grown = _linear(state, config["intermediate_size"])
    _linear(grown * torch.sigmoid(1.702 * grown), width)


def t5(config: Config, zero: Tensor, tokens: int, attention: str) -> None:
    """Launch T5's encoder: one layer."""
    width, heads = config["d_model"], config["num_heads"]
    state = _embedded(zero, config["vocab_size"], width, tokens)
    squares = state.to(torch.float32).pow(2).mean(-1, keepdim=True)
    state = zero * (state * torch.rsqrt(squares + 1e-6)).to(zero.dtype)
    query = _linear(state, heads * config["d_kv"], bias=False).view(1, tokens, heads, -1).transpose(1, 2)
    bias = zero.new_zeros(1, heads, tokens, tokens)
    if attention == "sdpa":
        mixed = functional.scaled_dot_product_attention(query, query, query, attn_mask=bias, scale=1.0)
    else:
        scores = torch.matmul(query, query.transpose(3, 2)) + bias
        mixed = torch.matmul(functional.softmax(scores, dim=-1, dtype=torch.float32).to(zero.dtype), query)
    _linear(mixed.transpose(1, 2).reshape(1, tokens, -1), width, bias=False)
    grown = _linear(state, config["d_ff"], bias=False)
    _linear(functional.gelu(grown, approximate="tanh") * torch.tanh(grown) * grown.pow(3), width, bias=False)


def transformer(config: Config, zero: Tensor, tokens: int, text: int) -> None:
    """Launch Flux's transformer: one block of each kind."""
    heads = config["num_attention_heads"]
    width = heads * config["attention_head_dim"]
    image = _linear(zero.new_zeros(1, tokens, config["in_channels"]), width)
    prompt = _linear(zero.new_zeros(1, text, config["joint_attention_dim"]), width)
    time = _linear(_sinusoids(zero, 256), width)
    vector = _linear(functional.silu(time), width)
    vector = vector + _linear(_linear(zero.new_zeros(1, config["pooled_projection_dim"]), width), width)
    for parts in (6, 3, 2):
        _linear(functional.silu(vector), parts * width)
    for stream in (image, prompt):
        state = functional.layer_norm(stream, (width,), eps=1e-6) * (1 + vector[:, None]) + vector[:, None]
        _heads(state, heads)
        grown = functional.gelu(_linear(state, 4 * width), approximate="tanh")
        stream.add_(vector.unsqueeze(1) * _linear(grown, width))
    joined = torch.cat([prompt, image], dim=1)
    state = functional.layer_norm(joined, (width,), eps=1e-6)
    query = _rotated(_heads(state, heads)).permute(0, 2, 1, 3)
    mixed = functional.scaled_dot_product_attention(query, query, query).permute(0, 2, 1, 3).flatten(2, 3)
    _linear(mixed[:, :text], width)
    _linear(mixed[:, text:], width)
    grown = functional.gelu(_linear(state, 4 * width), approximate="tanh")
    _linear(torch.cat([mixed, grown], dim=2), width)
    _linear(image, config["patch_size"] ** 2 * config["out_channels"])


def decoder(config: Config, zero: Tensor, height: int, width: int) -> None:
    """Launch the VAE's decoder: the middle, and every size and width once."""
    groups, sizes = config["norm_num_groups"], list(reversed(config["block_out_channels"]))
    last = sizes[0]
    state = _convolved(zero.new_zeros(1, config["latent_channels"], height, width), last)
    _attended(_resnet(state, last, groups), groups)
    for number, channels in enumerate(sizes):
        state = _resnet(_resnet(state, channels, groups), channels, groups)
        if number < len(sizes) - 1:
            state = _convolved(functional.interpolate(state, scale_factor=2.0, mode="nearest"), channels)
    state = _convolved(functional.silu(_normed(state, groups)), config["out_channels"])
    shown = (state * 0.5 + 0.5).clamp(0, 1).float()
    (shown * 255).round().byte().permute(0, 2, 3, 1).contiguous()


def _linear(state: Tensor, width: int, bias: bool = True) -> Tensor:
    weight = state.new_zeros(width, state.shape[-1])
    return functional.linear(state, weight, state.new_zeros(width) if bias else None)


def _embedded(zero: Tensor, vocabulary: int, width: int, tokens: int) -> Tensor:
    ids = torch.zeros(1, tokens, dtype=torch.long, device=zero.device)
    return functional.embedding(ids, zero.new_zeros(vocabulary, width))


def _sinusoids(zero: Tensor, width: int) -> Tensor:
    steps = torch.arange(width // 2, dtype=torch.float32, device=zero.device)
    angles = torch.exp(steps / width)[None] * zero.float()[:, None]
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).to(zero.dtype)


def _heads(state: Tensor, heads: int) -> Tensor:
    split = _linear(state, state.shape[-1]).view(*state.shape[:-1], heads, -1)
    return functional.rms_norm(split, split.shape[-1:], split.new_zeros(split.shape[-1]), eps=1e-6)


def _rotated(query: Tensor) -> Tensor:
    real, imaginary = query.reshape(*query.shape[:-1], -1, 2).unbind(-1)
    turned = torch.stack([-imaginary, real], dim=-1).flatten(3)
    table = torch.ones(query.shape[1], query.shape[-1], dtype=torch.float32, device=query.device)[
        None, :, None
    ]
    return (query.float() * table + turned.float() * table).to(query.dtype)


def _convolved(state: Tensor, channels: int, edge: int = 3) -> Tensor:
    weight = state.new_zeros(channels, state.shape[1], edge, edge)
    return functional.conv2d(state, weight, state.new_zeros(channels), padding=edge // 2)


def _normed(state: Tensor, groups: int) -> Tensor:
    factors = state.new_zeros(state.shape[1])
    return functional.group_norm(state, groups, factors, factors, 1e-6)


def _resnet(state: Tensor, channels: int, groups: int) -> Tensor:
    first = _convolved(functional.silu(_normed(state, groups)), channels)
    second = _convolved(functional.silu(_normed(first, groups)), channels)
    return second + (state if state.shape[1] == channels else _convolved(state, channels, 1))


def _attended(state: Tensor, groups: int) -> None:
    flat = _normed(state.flatten(2), groups).transpose(1, 2)
    query = _linear(flat, state.shape[1]).view(1, flat.shape[1], 1, -1).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(query, query, query)
    _linear(mixed.transpose(1, 2).reshape(flat.shape), state.shape[1])
