"""One function for every quantizer: a weight in, the weight that the stored bits mean out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.schema.quantizers import QUANTIZERS
from harness.schema.render import Unpacking

if TYPE_CHECKING:
    import torch

    Round = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]

NEEDS_LARGEST = frozenset({"fp8_scaled", "nvfp4", "convrot4", "convrot4_a16"})
"""Quantizers with one scale for a whole weight."""

PLAIN_CASTS = frozenset({"fp8_e4m3fn", "fp8_e5m2"})
"""Quantizers whose every number is one of the weight's dtype too."""


def rounded(name: str | None, weight: torch.Tensor, largest: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``weight`` as the quantizer ``name`` stores it, in the dtype of ``weight``.

    Args:
        name: None returns the weight.
        weight: out × in, or whole rows of such a weight: bf16, fp16 or fp32.
        largest: ``largest_of`` the whole weight, where only some of its rows are given.
    """
    return weight if name is None else _function_of(name)(weight, largest)


def unpacked(name: str | None, weight: torch.Tensor, unpacking: Unpacking = "fp16") -> torch.Tensor:
    """Return ``weight`` as a program computes with it that has it stored by ``name``, in its dtype.

    ComfyUI-GGUF and diffusers unpack GGUF files in fp16, whatever they compute in
    (``findings/diffusers_gguf_fp16.sh``). All else is computed with as it is stored.

    Args:
        unpacking: the ``dequant_dtype`` of ComfyUI-GGUF's advanced loader, for GGUF's types.
    """
    import torch

    from harness.precision import k_quants, libraries

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[unpacking]

    library = None if name is None else QUANTIZERS[name].library
    if name is not None and library == "gguf":
        return libraries.gguf(weight, name, dtype)
    if name is not None and library == "ggml":
        return k_quants.k_quant(weight, k_quants.type_of(name), dtype)
    return rounded(name, weight)


def largest_of(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value that a quantizer of ``NEEDS_LARGEST`` takes the scale from, fp32."""
    from harness.precision.convrot import largest_rotated

    return largest_rotated(weight) if QUANTIZERS[name].is_rotated else weight.float().abs().amax()


def rounded_values(
    name: str | None, stored: torch.Tensor, values: torch.Tensor, largest: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ``rounded(name, stored, largest)`` in fp32, exactly where it is no number of the dtype.

    A plain cast costs less so, and a rotated weight is not rounded once more.

    Args:
        stored: rows of a weight, in its dtype.
        values: the same in fp32.
    """
    from harness.precision import orbit

    if name is not None and QUANTIZERS[name].is_orbit:
        return orbit.orbit(name, values, stored.dtype)
    if name is None or name in PLAIN_CASTS or QUANTIZERS[name].is_rotated:
        return rounded(name, values, largest)
    return rounded(name, stored, largest).float()


def rounded_at_random(
    name: str, weight: torch.Tensor, random: torch.Tensor, largest: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ``weight`` as a float8 quantizer of ``STOCHASTIC`` stores it, rounded at random.

    Args:
        random: numbers from 0 to below 1, fp32, of the shape of ``weight``.
        largest: largest absolute value of the whole weight before it was changed: its scale is kept, where
            there is one for the whole weight.
    """
    from harness.precision import floats

    if name == "fp8_scaled":
        scale = floats.scale_of(_largest(weight, largest))
        return (floats.stochastic(weight.float() / scale, random) * scale).to(weight.dtype)
    return floats.stochastic(weight, random, floats.E5M2 if name == "fp8_e5m2" else floats.E4M3)


def _function_of(name: str) -> Round:
    from harness.precision import convrot, floats, k_quants, libraries, orbit, trainer_formats

    by_library: dict[str, Round] = {
        "optimum-quanto": lambda weight, _: libraries.quanto(weight, name),
        "torchao": lambda weight, _: libraries.torchao(weight, name),
        "gguf": lambda weight, _: libraries.gguf(weight, name),
        "ggml": lambda weight, _: k_quants.k_quant(weight, k_quants.type_of(name)),
    }
    by_name: dict[str, Round] = {
        "nf4": lambda weight, _: libraries.nf4(weight),
        "bnb_int8": lambda weight, _: libraries.bnb_int8(weight),
        "nvfp4": lambda weight, largest: trainer_formats.nvfp4(weight, _largest(weight, largest)),
        "fp8_e4m3fn": lambda weight, _: floats.cast(weight),
        "fp8_e5m2": lambda weight, _: floats.cast(weight, floats.E5M2),
        "fp8_scaled": lambda weight, largest: floats.scaled(weight, _largest(weight, largest)),
        "fp8_scaled_row": lambda weight, _: floats.scaled(weight, weight.abs().amax(1, keepdim=True)),
    }
    if QUANTIZERS[name].is_rotated:
        return lambda weight, largest: convrot.convrot(name, weight, largest)
    if QUANTIZERS[name].is_orbit:
        return lambda weight, _: orbit.orbit(name, weight, weight.dtype).to(weight.dtype)
    if name.startswith("uint"):
        return lambda weight, _: trainer_formats.uint(weight, int(name.removeprefix("uint")))
    return by_name[name] if name in by_name else by_library[QUANTIZERS[name].library]


def _largest(weight: torch.Tensor, largest: torch.Tensor | None) -> torch.Tensor:
    return weight.abs().amax() if largest is None else largest
