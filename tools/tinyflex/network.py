"""The network as the pipeline calls it: sigmas, position ids, captions, velocity; and a plain sampler."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from .components import SCHEDULER, T5_TOKENS, Models


def shift_factor(tokens: int) -> float:
    """Return exp(mu), the scheduler's dynamic time shift for this many image tokens."""
    low, high = SCHEDULER["base_image_seq_len"], SCHEDULER["max_image_seq_len"]
    slope = (SCHEDULER["max_shift"] - SCHEDULER["base_shift"]) / (high - low)
    return math.exp(SCHEDULER["base_shift"] + slope * (tokens - low))


def shift(sigmas: Tensor, factor: float) -> Tensor:
    """Apply a static time shift to sigmas in 0…1."""
    return factor * sigmas / (1 + (factor - 1) * sigmas)


def image_ids(height: int, width: int, device: str) -> Tensor:
    """Return the (h · w) × 3 position ids of packed image tokens: 0, row, column."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([torch.zeros_like(y), y, x], dim=-1).reshape(-1, 3).float()


def padding_bias(t5_tokens: int, image_tokens: int, device: str) -> Tensor | None:
    """Return what attention adds to each key so that the last text token counts as all padding left out.

    The pipeline pads captions to 512 tokens without a mask. Text tokens have no position in the transformer,
    so equal padding tokens stay equal, and n equal keys are one key with log(n) added to its score.

    Returns:
        1 × 1 × 1 × (t5_tokens + image_tokens), or None where nothing is left out.
    """
    if t5_tokens == T5_TOKENS:
        return None
    bias = torch.zeros(1, 1, 1, t5_tokens + image_tokens, device=device)
    bias[..., t5_tokens - 1] = math.log(T5_TOKENS - t5_tokens + 1)
    return bias


def read_captions(models: Models, t5_ids: Tensor, clip_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the text tokens and the pooled vector; no mask, and the pipeline's whole padding counts."""
    bias = padding_bias(t5_ids.shape[1], 0, str(t5_ids.device))
    mask = None if bias is None else bias.expand(len(t5_ids), 1, t5_ids.shape[1], -1)
    text = models.text_encoder_2(input_ids=t5_ids.long(), attention_mask=mask)[0]
    return text, models.text_encoder(input_ids=clip_ids.long()).pooler_output


def velocity(
    transformer: Any,
    x: Tensor,
    sigmas: Tensor,
    captions: tuple[Tensor, Tensor],
    guidance: Tensor,
    side: int = 8,
) -> Tensor:
    """Call the transformer as the pipeline does: control and inpaint images blank, the mask all ones."""
    text, pooled = captions
    blank = torch.zeros_like(x)
    device = str(x.device)
    return transformer(
        hidden_states=torch.cat([x, blank, torch.ones_like(x[..., :4]), blank], dim=-1),
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=sigmas,
        guidance=guidance,
        img_ids=image_ids(x.shape[1] // side, side, device),
        txt_ids=torch.zeros(text.shape[1], 3, device=device),
        joint_attention_kwargs={"attention_mask": padding_bias(text.shape[1], x.shape[1], device)},
        return_dict=False,
    )[0]


class Network(nn.Module):
    """Text encoders and transformer as one call with tensors in and out, which ``torch.compile`` can fuse.

    At this width a GPU mostly moves activations between small kernels; fused ones move them once.
    """

    def __init__(self, models: Models, device: str) -> None:
        super().__init__()
        self.models, self.device = models, device
        self.transformer = models.transformer
        self.text_encoder, self.text_encoder_2 = models.text_encoder, models.text_encoder_2

    def forward(
        self, x: Tensor, sigmas: Tensor, t5_ids: Tensor, clip_ids: Tensor, guidance: Tensor
    ) -> Tensor:
        """Return the velocity, fp32, for noisy latents, noise levels, both captions' ids and guidance."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda", cache_enabled=False):
            captions = read_captions(self.models, t5_ids, clip_ids)
            return velocity(self.transformer, x, sigmas, captions, guidance).float()


@torch.no_grad()
def sample(
    models: Models,
    ids: tuple[Tensor, Tensor],
    guidance: float,
    *,
    steps: int = 25,
    seed: int = 0,
    side: int = 8,
) -> Tensor:
    """Draw latents for captions with the scheduler's own steps (Euler): B × (side · side) × 64."""
    device = str(ids[0].device)
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn((len(ids[0]), side * side, 64), generator=generator).to(device)
    sigmas = [*shift(torch.linspace(1, 1 / steps, steps), shift_factor(side * side)).tolist(), 0.0]
    captions = read_captions(models, *ids)
    scale = torch.full((len(x),), guidance, device=device)
    for now, following in itertools.pairwise(sigmas):
        at = torch.full((len(x),), now, device=device)
        x = x + (following - now) * velocity(models.transformer, x, at, captions, scale, side).float()
    return x
