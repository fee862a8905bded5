"""Fuse one LoRA again at another multiplier, from factors that stay in place, with the bits of PEFT's merge.

diffusers reads the file, wraps every module and unwraps it for each multiplier: for 340 modules, a second and
more. Here the factors that it loaded are kept. Before they are used for the first time, the weights that they
give are compared, every bit, with those that PEFT fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.pipeline.originals import Originals

Key = tuple[str, str]
HALF = (torch.bfloat16, torch.float16)


class _Factor(NamedTuple):
    a: Tensor
    b: Tensor
    scale: float

    def delta(self, multiplier: float) -> Tensor:
        """Return what PEFT's ``get_delta_weight`` does; on the CPU it multiplies half precision in fp32."""
        scale = self.scale if multiplier == 1 else self.scale * multiplier
        if self.b.device.type == "cpu" and self.b.dtype in HALF:
            return ((self.b.float() @ self.a.float()) * scale).to(self.b.dtype)
        return (self.b @ self.a) * scale


class FusedFactors:
    """The factors of the LoRA that was fused last.

    Attributes:
        proved: they give the weights that PEFT fused.
    """

    def __init__(self) -> None:
        self._key: Key | None = None
        self._multiplier = 1.0
        self._factors: dict[str, _Factor] = {}
        self.proved = False

    def keep(self, transformer: nn.Module, adapter: str, key: Key, multiplier: float) -> None:
        """Keep the factors of ``adapter``, which is loaded and about to be fused at ``multiplier``."""
        self.forget()
        wrapped = {
            name: module
            for name, module in transformer.named_modules()
            if adapter in getattr(module, "lora_A", {})
        }
        if all(_is_plain(module, adapter) for module in wrapped.values()):
            self._key, self._multiplier = key, multiplier
            self._factors = {f"{name}.weight": _factor(module, adapter) for name, module in wrapped.items()}

    def forget(self) -> None:
        """Keep nothing."""
        self._key, self._factors, self.proved = None, {}, False

    @torch.no_grad()
    def prove(self, key: Key, weights: Mapping[str, Tensor], originals: Originals) -> bool:
        """Say whether ``merge`` can fuse the LoRA ``key``.

        Args:
            weights: as PEFT fused them at the multiplier that was kept, unless this was proved before.
            originals: the weights without a LoRA.
        """
        if key != self._key or not self._factors:
            return False
        if not self.proved:
            self.proved = all(
                torch.equal(_added(original, self._factors[name], self._multiplier), weights[name])
                for name, original in originals.copies(self._factors, weights)
            )
        if not self.proved:
            self.forget()
        return self.proved

    @torch.no_grad()
    def merge(self, weights: Mapping[str, Tensor], multiplier: float) -> None:
        """Add the LoRA to ``weights``, which hold none."""
        for name, factor in self._factors.items():
            _added(weights[name].data, factor, multiplier)


def _added(weight: Tensor, factor: _Factor, multiplier: float) -> Tensor:
    weight += factor.delta(multiplier)
    return weight


def _factor(module: Any, adapter: str) -> _Factor:
    a, b = (side[adapter].weight.detach() for side in (module.lora_A, module.lora_B))
    return _Factor(a, b, module.scaling[adapter])


def _is_plain(module: Any, adapter: str) -> bool:
    """Whether PEFT merges the module by its factors alone."""
    bias = getattr(module, "lora_bias", {}).get(adapter, False)
    variant = adapter in getattr(module, "lora_variant", {})
    return not (bias or variant or getattr(module, "fan_in_fan_out", False))
