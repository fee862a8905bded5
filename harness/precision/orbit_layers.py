"""Linear layers that reorder what they are given and rotate it, as the trainer's orbit quantizers do.

Activations are not rounded, on no device. A LoRA is given the input as it comes.
Source: ``ostris/ai-toolkit`` 0.12.26, ``toolkit/util/orbit_quant.py`` and ``ostris_quant.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from harness.precision.orbit import can_turn, stored_turned, turned
from harness.schema.quantizers import is_left_out


def turn_in_place(part: nn.Module, name: str, exclude: Sequence[str] = ()) -> None:
    """Put layers of the quantizer ``name`` into ``part``, for every linear layer whose width it takes.

    Args:
        exclude: patterns of layers that stay as they are.
    """
    for path, layer in list(part.named_modules()):
        if isinstance(layer, nn.Linear) and can_turn(layer.in_features) and not is_left_out(path, exclude):
            part.set_submodule(path, TurnedLinear(layer, name))


class TurnedLinear(nn.Linear):
    """A layer with a weight, out × in, that is turned, and turns its input, … × in."""

    def __init__(self, layer: nn.Linear, name: str) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(stored_turned(name, layer.weight.data), requires_grad=False)
        self.bias = layer.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, … × out, in the dtype of ``input``."""
        return functional.linear(turned(input), self.weight, self.bias)
