"""Convolutions in half precision: torch's own bits, whatever the processor has instructions for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.pipeline.ordered_convolution import OrderedConv2d, use_ordered_convolutions

SHAPES = ((8, 5, 3, 40), (3, 4, 3, 24), (16, 3, 1, 20))
"""Channels in and out, window and image, pixels; 3 × 3 × 3 products are no multiple of the partial sums."""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ordered_convolution_gives_torchs_bits_before_and_after_its_proof(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for inputs, outputs, window, size in SHAPES:
        layer = nn.Conv2d(inputs, outputs, window, padding=window // 2).to(dtype)
        image = torch.randn(2, inputs, size, size + 3).to(dtype)
        with torch.no_grad():
            own = layer(image)
            use_ordered_convolutions(layer)
            assert type(layer) is OrderedConv2d
            assert all(torch.equal(layer(image), own) for _ in range(2))
        proved = layer.__dict__.get("_proved", {None: "torch has instructions for it"})
        assert None not in proved.values()
