"""Layers and inputs of numbers whose sums do not depend on their order."""

from __future__ import annotations

import torch
from torch import nn


def whole_numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randint(-15, 16, shape, generator=torch.Generator().manual_seed(seed)).float()


def layer(width: int = 192, outputs: int = 64) -> nn.Linear:
    made = nn.Linear(width, outputs, dtype=torch.bfloat16)
    made.weight.data = (whole_numbers(1, outputs, width) / 1024).bfloat16()
    made.bias.data = (whole_numbers(2, outputs) / 8).bfloat16()
    return made
