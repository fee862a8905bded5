"""A LoRA merged into a transformer whose weights a quantizer has rounded."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from harness.pipeline.lora_adapter import lora_factors
from harness.precision.layer_types import layer_quantizer
from harness.precision.rounding import rounded_at_random, unpacked
from harness.schema.lora_file import LoraFile
from harness.schema.render import LoraMode, Unpacking

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel


def merge_rounded(
    transformer: FluxTransformer2DModel,
    lora: LoraFile,
    multiplier: float,
    quantizer: str,
    mode: LoraMode,
    unquantized: Mapping[str, torch.Tensor] | None = None,
    exclude: Sequence[str] = (),
    unpacking: Unpacking = "fp16",
) -> None:
    """Add ``multiplier · B·A`` in fp32, and round as ``quantizer`` does.

    Args:
        mode: ``fp32`` adds to the unquantized weights; ``merged`` to the quantized ones, rounded to nearest;
            ``stochastic`` likewise, rounded at random with a seed from each weight's name.
        unquantized: the weights before they were quantized, by name; only ``fp32`` needs them.
        exclude: patterns of layers that are not quantized.
        unpacking: dtype that weights of a GGUF's type are unpacked in.
    """
    weights = dict(transformer.named_parameters())
    device = next(transformer.parameters()).device
    for module, (a, b) in lora_factors(lora, device).items():
        name = f"{module}.weight"
        weight = weights[name].data
        before = unquantized[name].data if mode == "fp32" and unquantized is not None else weight
        wanted = before.float() + multiplier * (b @ a)
        if mode == "stochastic":
            generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
            random = torch.rand(wanted.shape, generator=generator, device=device)
            weight.copy_(rounded_at_random(quantizer, wanted, random, weight.abs().amax()))
        else:
            own = layer_quantizer(quantizer, module, exclude)
            weight.copy_(unpacked(own, wanted.to(weight.dtype), unpacking))
