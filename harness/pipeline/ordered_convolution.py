"""Convolutions in half precision on a processor without instructions for it: torch's own sums, in time.

There torch multiplies bf16 and fp16 one number at a time, in four partial sums of fp32 over the inputs of a
pixel: a 64-channel layer of 128² takes seconds. A product of two such numbers is exact in fp32, so the same
four sums, each over all pixels at once, give the same bits
(``gemm_notrans_`` of PyTorch's ``BlasKernel.cpp``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.pipeline.bf16_products import has_bf16_kernels, is_quick

PARTIAL_SUMS = 4
CORNER = 16
"""Edge of the corner of a layer's output, pixels, that torch's own convolution computes as a proof."""

MAX_VALUES = 1 << 24
"""Inputs of pixels that are spread out at once, as fp32."""

Product = Callable[[Tensor, Tensor], Tensor]


def use_ordered_convolutions(model: nn.Module) -> None:
    """Let the convolutions of ``model`` sum as torch does, where this processor would sum slowly."""
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = OrderedConv2d


class OrderedConv2d(nn.Conv2d):
    """A convolution that computes half precision in torch's order of sums, once that is proved for a shape.

    The first call of a shape compares a corner of it with torch's own convolution, and every bit of the
    matrix products that later calls use with sums in that order. What differs is not used.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return torch's own convolution of ``input``, B×C×H×W."""
        if not self._is_slow(input):
            return super().forward(input)
        proved: dict[object, Product | None] = self.__dict__.setdefault("_proved", {})
        key = (tuple(input.shape), input.dtype, self.weight.dtype)
        if key not in proved:
            return self._prove(input, proved, key)
        product = proved[key]
        return self._summed(input, product) if product is not None else super().forward(input)

    def _is_slow(self, input: Tensor) -> bool:
        plain = (self.stride, self.dilation, self.groups) == ((1, 1), (1, 1), 1)
        padded = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if not (plain and padded and input.device.type == "cpu" and input.dim() == 4):
            return False
        return input.dtype == self.weight.dtype and _is_emulated(input.dtype)

    def _prove(self, input: Tensor, proved: dict[object, Product | None], key: object) -> Tensor:
        output = self._summed(input, _in_order)
        edge = CORNER + self.kernel_size[0] - 1
        own = super().forward(input[..., :edge, :edge].contiguous())[..., :CORNER, :CORNER]
        if not torch.equal(own, output[..., :CORNER, :CORNER]):
            proved[key] = None
            return super().forward(input)
        same = torch.equal(self._summed(input, torch.matmul), output)
        proved[key] = torch.matmul if same else _in_order
        return output

    def _summed(self, input: Tensor, product: Product) -> Tensor:
        images = [self._image(image[None], product) for image in input]
        return torch.cat(images) if len(images) > 1 else images[0]

    def _image(self, image: Tensor, product: Product) -> Tensor:
        """Return the convolution of 1×C×H×W, some rows of it after the other."""
        weights = self.weight.detach().flatten(1).float()
        bias = self.bias.detach().float()[:, None] if self.bias is not None else 0.0
        (top, left), (high, wide) = map(int, self.padding), self.kernel_size
        padded = functional.pad(image.float(), (left, left, top, top))
        height, width = padded.shape[2] - high + 1, padded.shape[3] - wide + 1
        rows = max(1, MAX_VALUES // (weights.shape[1] * width))
        output = image.new_empty(1, weights.shape[0], height, width)
        for row in range(0, height, rows):
            windows = padded[0, :, row : row + rows + high - 1].unfold(1, high, 1).unfold(2, wide, 1)
            spread = windows.permute(0, 3, 4, 1, 2).reshape(weights.shape[1], -1)
            sums = bias + _partial_sums(weights, spread, product)
            output[0, :, row : row + rows] = sums.reshape(sums.shape[0], -1, width)
        return output


def _partial_sums(weights: Tensor, inputs: Tensor, product: Product) -> Tensor:
    """Return O×K times K×N: every fourth product is one sum, what is left over belongs to the first."""
    even = weights.shape[1] // PARTIAL_SUMS * PARTIAL_SUMS
    total = None
    for part in range(PARTIAL_SUMS):
        places = torch.arange(part, even, PARTIAL_SUMS)
        if part == 0:
            places = torch.cat([places, torch.arange(even, weights.shape[1])])
        found = product(weights[:, places], inputs[places])
        total = found if total is None else total.add_(found)
    assert total is not None
    return total


def _in_order(weights: Tensor, inputs: Tensor) -> Tensor:
    """Return O×K times K×N, summed from the first product to the last."""
    total = inputs.new_zeros(weights.shape[0], inputs.shape[1])
    for weight, row in zip(weights.t()[:, :, None], inputs, strict=True):
        total.addcmul_(weight, row)
    return total


def _is_emulated(dtype: torch.dtype) -> bool:
    """Whether torch has no fast convolution of a dtype on this processor."""
    if dtype == torch.bfloat16:
        return not is_quick() and not has_bf16_kernels()
    return dtype == torch.float16 and not torch.ops.mkldnn._is_mkldnn_fp16_supported()
