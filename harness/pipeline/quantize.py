"""Quantized copies of the transformer and of T5, swapped in and out of one loaded pipeline.

AI Toolkit quantizes the weights of the linear layers that its quantizer takes, and activations with convrot
alone; what each quantizer does is in ``harness.precision``.
Source: ``ostris/ai-toolkit``, ``extensions_built_in/flex2/flex2.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pipeline.load import LoadedPipeline
from harness.precision.availability import require
from harness.schema.case import Quantize
from harness.schema.quantizers import QUANTIZERS, quantizer_of
from harness.schema.render import Unpacking

if TYPE_CHECKING:
    import torch
    from torch import nn

TRANSFORMER, T5 = "transformer", "text_encoder_2"


def quantize_part(
    part: nn.Module, name: str, exclude: Sequence[str] = (), unpacking: Unpacking = "fp16"
) -> None:
    """Quantize every linear layer of ``part`` that the quantizer takes, in place.

    Args:
        exclude: patterns of layers that stay as they are, e.g. ``*time_text_embed*``.
        unpacking: dtype that weights of a GGUF's type are unpacked in.

    Raises:
        HarnessError: the quantizer cannot run here.
    """
    import torch

    from harness.precision.convrot_layers import rotate_in_place
    from harness.precision.layer_types import layer_quantizer
    from harness.precision.libraries import quantize_in_place
    from harness.precision.orbit_layers import turn_in_place
    from harness.precision.rounding import unpacked

    require(name)
    if QUANTIZERS[name].is_rotated:
        rotate_in_place(part, name, exclude)
        return
    if QUANTIZERS[name].is_orbit:
        turn_in_place(part, name, exclude)
        return
    if not QUANTIZERS[name].keeps_layers:
        quantize_in_place(part, name, exclude)
        return
    for path, module in part.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = unpacked(layer_quantizer(name, path, exclude), module.weight.data, unpacking)


class QuantizedParts:
    """Which parts of one pipeline are quantized; copies of one quantizer are kept beside the originals."""

    def __init__(self, loaded: LoadedPipeline) -> None:
        self._loaded = loaded
        self._originals: dict[str, nn.Module] = {
            name: getattr(loaded.pipe, name) for name in (TRANSFORMER, T5)
        }
        self._copies: dict[str, nn.Module] = {}
        self._copied: tuple[str, tuple[str, ...], Unpacking] | None = None
        self.current: tuple[Quantize, tuple[str, ...], Unpacking] = ("none", (), "fp16")

    def apply(self, wanted: Quantize, exclude: tuple[str, ...] = (), unpacking: Unpacking = "fp16") -> None:
        """Quantize the parts that ``wanted`` names, and leave the others as loaded.

        The transformer must hold no LoRA when this is called.

        Args:
            exclude: patterns of the transformer's layers that stay as they are.
            unpacking: dtype that the transformer's weights are unpacked in, of a GGUF's type.

        Raises:
            HarnessError: the quantizer cannot run here, or weights are offloaded.
        """
        if (wanted, exclude, unpacking) == self.current:
            return
        if self._loaded.offload != "none":
            raise HarnessError(
                f"{wanted} with offload {self._loaded.offload}: quantized copies are not offloaded",
                field="quantize",
                fix="give --offload none, or a GPU with more memory",
            )
        quantizer, parts = quantizer_of(wanted)
        made = {
            name: self._copy(name, quantizer, exclude, unpacking) for name in parts if quantizer is not None
        }
        for name, original in self._originals.items():
            setattr(self._loaded.pipe, name, made.get(name, original))
        self.current = wanted, exclude, unpacking

    def unquantized_weights(self) -> Mapping[str, torch.Tensor]:
        """Return the transformer's weights as loaded, by name."""
        return dict(self._originals[TRANSFORMER].named_parameters())

    def _copy(self, name: str, quantizer: str, exclude: tuple[str, ...], unpacking: Unpacking) -> nn.Module:
        require(quantizer)
        if (quantizer, exclude, unpacking) != self._copied:
            self._copies.clear()
            self._copied = quantizer, exclude, unpacking
        if name not in self._copies:
            part = copy.deepcopy(self._originals[name])
            own = (exclude, unpacking) if name == TRANSFORMER else ()
            quantize_part(part, quantizer, *own)
            self._copies[name] = part
        return self._copies[name]
