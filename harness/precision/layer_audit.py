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


def compare(
    layer: LayerAudit,
    delta: LoraDelta,
    weight: ModuleWeight,
    quantizers: Sequence[str],
    rows: int | None,
    device: str,
) -> None:
    """Measure on ``weight`` what of ``delta`` survives each quantizer, and write it into ``layer``.

    Args:
        rows: how many to read, evenly spread; None reads all.
    """
    import torch

    generator = torch.Generator(device).manual_seed(0)
    a, b = (each.to(device) for each in delta.factors())
    largest = _largest(weight, device) if NEEDS_LARGEST.intersection(quantizers) else None
    squares, count = 0.0, 0
    for start, block in row_blocks(weight, rows, device):
        part = b[start : start + len(block)]
        exact = delta.scale * (part.float() @ a.float())
        squares += float(block.float().square().sum())
        count += block.numel()
        live = delta.scale * (part.to(block.dtype).float() @ a.to(block.dtype).float())
        _survival(layer, UNQUANTIZED, "live").add(live, exact)
        for name in (UNQUANTIZED, *quantizers):
            for way, change in changes(block, exact, name, generator, largest).items():
                _survival(layer, name, way).add(change, exact)
    layer.weight = (squares / count) ** 0.5


def _survival(layer: LayerAudit, name: str, way: Way) -> Survival:
    return layer.applied.setdefault((name, way), Survival())


def _largest(weight: ModuleWeight, device: str) -> torch.Tensor:
    """Return the largest absolute value of a whole weight."""
    import torch

    return torch.stack([block.float().abs().amax() for _, block in row_blocks(weight, None, device)]).amax()
