"""One layer of an audit: its exact change, and what of it survives by quantizer and way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.precision.base_modules import ModuleWeight
from harness.precision.lora_delta import LoraDelta
from harness.precision.rounding import NEEDS_LARGEST
from harness.precision.row_blocks import row_blocks
from harness.precision.survival import UNQUANTIZED, Survival, Way, changes

if TYPE_CHECKING:
    import torch

Applied = dict[tuple[str, Way], Survival]
"""By the quantizer's name and the way the LoRA is applied."""


@dataclass
class LayerAudit:
    """One module: its change, and what of it survives.

    Attributes:
        change: root mean square of the exact change.
        weight: root mean square of the base's weight, in the rows that were read; None without a base.
    """

    module: str
    shape: tuple[int, int]
    rank: int
    change: float
    weight: float | None = None
    applied: Applied = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The smallest share that survives any way."""
        return min((each.share for each in self.applied.values()), default=1.0)

    def to_json(self) -> dict[str, Any]:
        """Return the layer's entry of the JSON object."""
        return {
            "module": self.module,
            "shape": list(self.shape),
            "rank": self.rank,
            "change_rms": self.change,
            "weight_rms": self.weight,
            "applied": applied_json(self.applied),
        }


def applied_json(applied: Applied) -> list[dict[str, Any]]:
    """Return one object for each quantizer and way."""
    return [{"quantize": name, "way": way, **each.to_json()} for (name, way), each in applied.items()]


def layer_of(delta: LoraDelta) -> LayerAudit:
    """Return a layer with the size of its change, from A·Aᵀ and Bᵀ·B, which are small."""
    a, b = (each.double() for each in delta.factors())
    energy = float(((a @ a.T) * (b.T @ b)).sum().clamp(min=0))
    change = abs(delta.scale) * (energy / (delta.rows * delta.columns)) ** 0.5
    return LayerAudit(delta.module, (delta.rows, delta.columns), len(a), float(change))


class LayerMeter:
    """Measures one layer, piece by piece of the base's weight.

    Args:
        quantizers: names that can run here.
        device: where the pieces are.
    """

    def __init__(
        self, delta: LoraDelta, weight: ModuleWeight, quantizers: Sequence[str], device: str
    ) -> None:
        import torch

        self.layer = layer_of(delta)
        self._a, self._b = (each.to(device) for each in delta.factors())
        self._scale, self._quantizers = delta.scale, quantizers
        self._generator = torch.Generator(device).manual_seed(0)
        needed = NEEDS_LARGEST.intersection(quantizers)
        self._largest = _largest(weight, device) if needed else None
        self._squares, self._count = 0.0, 0

    def add(self, start: int, block: torch.Tensor) -> None:
        """Measure the rows of the weight from ``start`` on."""
        b, a = self._b[start : start + len(block)], self._a
        exact = self._scale * (b.float() @ a.float())
        live = self._scale * (b.to(block.dtype).float() @ a.to(block.dtype).float())
        self._survival(UNQUANTIZED, "live").add(live, exact)
        for name in (UNQUANTIZED, *self._quantizers):
            for way, change in changes(block, exact, name, self._generator, self._largest).items():
                self._survival(name, way).add(change, exact)
        self._squares += float(block.float().square().sum())
        self._count += block.numel()
        self.layer.weight = (self._squares / self._count) ** 0.5

    def _survival(self, name: str, way: Way) -> Survival:
        return self.layer.applied.setdefault((name, way), Survival())


def _largest(weight: ModuleWeight, device: str) -> torch.Tensor:
    """Return the largest absolute value of a whole weight."""
    import torch

    pieces = row_blocks([(None, weight)], None, device)
    return torch.stack([block.float().abs().amax() for _, _, block in pieces]).amax()
