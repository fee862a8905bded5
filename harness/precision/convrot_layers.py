"""Linear layers that rotate what they are given, and round it, as the trainer's convrot quantizers do.

Where a GPU multiplies 8-bit integers, and for convrot4 4-bit floats, the trainer rounds what is rotated;
elsewhere it multiplies with the rounded weight alone: on a CPU, on Apple silicon, and for convrot4 on a GPU
before Blackwell. A name here says which of the two, so that either is rendered on any device. A LoRA is given
the input that is not rotated.
Source: ``ostris/ai-toolkit`` 0.12.26, ``toolkit/util/convrot_quant.py`` and ``ostris_quant.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from harness.precision.convrot import bits_of, byte_rows, can_rotate, rotated, row_codes
from harness.precision.trainer_formats import nvfp4_parts, nvfp4_rows
from harness.schema.quantizers import ACTIVATIONS_LEFT, is_left_out

BYTE_OUTPUTS, FLOAT_OUTPUTS = 8, 16
"""What the trainer wants the outputs of a layer to be a multiple of, for integers and for convrot4."""
EXACT_IN_FP32 = 1024
"""Products of two 8-bit integers whose sum fp32 holds in any order."""
_INT8_ROWS = 32
"""Rows of which CUDA's product of 8-bit integers takes a multiple."""


def rotate_in_place(part: nn.Module, name: str, exclude: Sequence[str] = ()) -> None:
    """Put layers of the quantizer ``name`` into ``part``, for every linear layer whose sizes it takes.

    Args:
        exclude: patterns of layers that stay as they are.
    """
    for path, layer in list(part.named_modules()):
        if isinstance(layer, nn.Linear) and _takes(name, layer) and not is_left_out(path, exclude):
            part.set_submodule(path, _made(name, layer))


def _takes(name: str, layer: nn.Linear) -> bool:
    outputs = FLOAT_OUTPUTS if bits_of(name) is None else BYTE_OUTPUTS
    return can_rotate(layer.in_features) and layer.out_features % outputs == 0


def _made(name: str, layer: nn.Linear) -> RotatedLinear:
    turned, dtype = rotated(layer.weight.data.float()), layer.weight.dtype
    is_left = name.endswith(ACTIVATIONS_LEFT)
    if bits_of(name) is None:
        codes, scales, whole = nvfp4_parts(turned, turned.abs().amax())
        if is_left:
            return RotatedLinear(layer, (codes * (scales * whole)).reshape(turned.shape).to(dtype))
        return FloatLinear(layer, (codes * scales).reshape(turned.shape).to(dtype), whole)
    integers, scale = row_codes(name, turned)
    if is_left:
        return RotatedLinear(layer, (integers * scale).to(dtype))
    return ByteLinear(layer, integers.to(torch.int8), scale.T)


class RotatedLinear(nn.Linear):
    """A layer with a rotated weight, out × in, that rotates its input, … × in, and rounds nothing more."""

    def __init__(self, layer: nn.Linear, stored: torch.Tensor) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(stored, requires_grad=False)
        self.bias = layer.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, … × out, in the dtype of ``input``."""
        rows = rotated(input).reshape(-1, self.in_features)
        return self._product(rows).reshape(*input.shape[:-1], self.out_features)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows, self.weight, self.bias)


class ByteLinear(RotatedLinear):
    """The same with 8-bit integers on both sides, whose sums are exact; ``scale`` is 1 × out, fp32."""

    scale: torch.Tensor

    def __init__(self, layer: nn.Linear, stored: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__(layer, stored)
        self.register_buffer("scale", scale, persistent=False)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        codes, scale = byte_rows(rows)
        made = _integer_product(codes.to(torch.int8), self.weight).float()
        if self.bias is None:
            return made.mul_(scale * self.scale).to(rows.dtype)
        # the kernel multiplies and adds in one instruction that rounds once: so does fp64
        return made.double().mul_(scale * self.scale).add_(self.bias).to(rows.dtype)


class FloatLinear(RotatedLinear):
    """The same with nvfp4 on both sides, in the layer's dtype; the weight lacks its fp32 scale ``whole``.

    Products of two such numbers are exact, and their sums are those of the kernel in another order.
    """

    whole: torch.Tensor

    def __init__(self, layer: nn.Linear, stored: torch.Tensor, whole: torch.Tensor) -> None:
        super().__init__(layer, stored)
        self.register_buffer("whole", whole, persistent=False)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        made = functional.linear(nvfp4_rows(rows), self.weight)
        scale = self.whole.to(rows.dtype)
        return made * scale if self.bias is None else torch.addcmul(self.bias, made, scale)


def _integer_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left · rightᵀ, rows × out, int32, of int8 matrices rows × in and out × in."""
    if left.is_cuda:
        padded = functional.pad(left, (0, 0, 0, -len(left) % _INT8_ROWS))
        return torch._int_mm(padded, right.T)[: len(left)]
    made = torch.zeros(len(left), len(right), dtype=torch.int32, device=left.device)
    for a, b in zip(_parts(left), _parts(right), strict=True):
        made += (a.float() @ b.float().T).int()
    return made


def _parts(codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.split(codes, EXACT_IN_FP32, 1)
