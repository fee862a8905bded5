"""Weights as quantization libraries store them: each function returns what the stored bits mean."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from harness._util.quiet_libraries import quiet_libraries
from harness.precision.codebook import nearest
from harness.precision.floats import E4M3, E5M2, cast
from harness.precision.quanto_kernels import tell_build
from harness.schema.quantizers import QUANTIZERS, is_left_out

QUANTO_FLOATS = {"qfloat8": E4M3, "qfloat8_e5m2": E5M2}
INT8_EPS = torch.finfo(torch.float32).eps
"""torchao's smallest scale of 8-bit integers; rows of zeros have it."""
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
    1.0,
)  # fmt: skip
"""The 16 numbers of nf4, as bitsandbytes has them."""
NF4_BETWEEN = ((torch.tensor(NF4)[:-1] + torch.tensor(NF4)[1:]) / 2).tolist()
SCALE_BYTES = 2
"""Of the fp16 scale that a block of GGUF's Q8_0 and Q4_0 begins with."""
NF4_BLOCK, NF4_LEAST = 64, 1e-38
"""Weights that share a scale, and the smallest one that is divided by."""
PACKED_WIDTH = 16
"""Weights that torch's 8-bit product on the CPU takes at a time."""


def quanto(weight: torch.Tensor, name: str) -> torch.Tensor:
    """Return ``weight``, out × in, as optimum-quanto stores it in a linear layer.

    With 8 bits without the package, whose import takes longer than rounding a whole model: of each row the
    largest absolute value is the format's, and all is in the weight's dtype. Source: quanto's
    ``AbsmaxOptimizer`` and ``quantize_symmetric``.
    """
    if name in QUANTO_FLOATS:
        scale = _row_scale(weight, torch.finfo(QUANTO_FLOATS[name]).max)
        return cast(weight / scale, QUANTO_FLOATS[name]).mul_(scale)
    if name == "qint8":
        scale = _row_scale(weight, 127)
        return (weight / scale).round_().clamp_(-128, 127).mul_(scale)
    layer = nn.Sequential(_linear(weight))
    quantize_in_place(layer, name)
    made: Any = layer[0].weight
    return made.dequantize().detach()  # type: ignore[no-any-return]


def _row_scale(weight: torch.Tensor, largest: float) -> torch.Tensor:
    return weight.abs().amax(1, keepdim=True) / largest


def torchao(weight: torch.Tensor, name: str) -> torch.Tensor:
    """Return ``weight``, out × in, as torchao stores it in a linear layer, computed without its import.

    The scale of a row is in the weight's dtype, the rest in fp32. Source: torchao's ``Int8Tensor`` and
    ``Float8Tensor``.
    """
    if name == "float8":
        scale = _row_scale(weight, torch.finfo(E4M3).max).float()
        return (cast(weight.float() / scale) * scale).to(weight.dtype)
    scale = _row_scale(weight, 127.5).clamp(min=INT8_EPS).float()
    codes = (weight.float() * (1.0 / scale)).round_().clamp_(-128, 127)
    return (codes * scale).to(weight.dtype)


def quantize_in_place(part: nn.Module, name: str, exclude: Sequence[str] = ()) -> None:
    """Quantize every linear layer of ``part`` with optimum-quanto or torchao, as AI Toolkit calls them.

    Args:
        exclude: patterns of layers that stay as they are.
    """

    def is_wanted(module: nn.Module, path: str) -> bool:
        return isinstance(module, nn.Linear) and not is_left_out(path, exclude)

    if QUANTIZERS[name].library == "torchao":
        package = _library("torchao.quantization")
        config = package.Float8WeightOnlyConfig if name == "float8" else package.Int8WeightOnlyConfig
        package.quantize_(part, config(), is_wanted)
    else:
        package = _library("optimum.quanto")
        qtype = package.qtypes[name]
        tell_build(part, qtype.bits, qtype.is_floating_point)
        left = [path for path, _ in part.named_modules() if is_left_out(path, exclude)]
        package.quantize(part, weights=qtype, exclude=left)
        package.freeze(part)
        if name == "qint8":
            _plain_where_torch_crashes(part)


def _plain_where_torch_crashes(part: nn.Module) -> None:
    """Put the rounded weights of layers of some widths into plain layers, which multiply as well.

    On a CPU, optimum-quanto 0.2.7 multiplies bf16 with 8-bit weights by a kernel of torch that wants a width
    of a multiple of 16, and asks for one of 4: Flex.2's first layer, 196 wide, ends the process (torch
    2.14.1).
    """
    for module in part.modules():
        for name, layer in module.named_children():
            if type(layer) is nn.Linear or not isinstance(layer, nn.Linear):  # left out
                continue
            if layer.in_features % PACKED_WIDTH:
                plain = _linear(layer.weight.dequantize())
                plain.bias = layer.bias
                setattr(module, name, plain)


def gguf(weight: torch.Tensor, name: str, unpacked_in: torch.dtype = torch.float32) -> torch.Tensor:
    """Return ``weight``, out × in, as a GGUF file stores it; rows that its block does not divide stay.

    The package computes on the CPU alone, in fp32. A weight is a scale, fp16, times a code, exact in fp32.

    Args:
        unpacked_in: dtype that scales and their products with codes are rounded to; fp32 gives what the bits
            mean.
    """
    package, quants = _library("gguf"), _library("gguf.quants")
    kind = package.GGMLQuantizationType[name.removeprefix("gguf_").upper()]
    block, size = package.GGML_QUANT_SIZES[kind]
    if weight.shape[1] % block:
        return weight
    stored = quants.quantize(weight.float().cpu().numpy(), kind)
    exact = torch.from_numpy(quants.dequantize(stored, kind)).view(-1, block)
    scales = torch.from_numpy(stored.reshape(-1, size)[:, :SCALE_BYTES].copy()).view(torch.float16)
    codes = (exact / scales.float()).nan_to_num_()  # of a scale of 0
    made = codes.to(unpacked_in) * scales.to(unpacked_in)
    return made.view(weight.shape).to(weight.device, weight.dtype)


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight`` as bitsandbytes stores it in 4 bits, with an fp32 scale for 64 weights.

    On a CPU without the package, which takes seven times as long to choose the codes, and whose own kernel
    rounds some fp16 weights otherwise with AVX-512 (0.50.2).
    """
    if weight.device.type != "cpu":
        package = _library("bitsandbytes.functional")
        stored, state = package.quantize_4bit(weight.contiguous(), quant_type="nf4", blocksize=NF4_BLOCK)
        return package.dequantize_4bit(stored, state).to(weight.dtype)  # type: ignore[no-any-return]
    flat = weight.flatten().float()
    blocks = functional.pad(flat, (0, -len(flat) % NF4_BLOCK)).view(-1, NF4_BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    parts = (blocks * (1.0 / largest.clamp(min=NF4_LEAST))).clamp_(-1, 1)
    values = nearest(parts, NF4, NF4_BETWEEN).mul_(largest)
    return values.flatten()[: len(flat)].view(weight.shape).to(weight.dtype)


def bnb_int8(weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight``, out × in, as bitsandbytes stores it in 8 bits; it casts to fp16 first."""
    package = _library("bitsandbytes.functional")
    stored, scales, _ = package.int8_vectorwise_quant(weight.to(torch.float16))
    return package.int8_vectorwise_dequant(stored, scales).to(weight.dtype)  # type: ignore[no-any-return]


def _linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


@cache
def _library(module: str) -> Any:
    quiet_libraries()
    return importlib.import_module(module)
