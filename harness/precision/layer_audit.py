"""One layer of an audit: its exact change, and what of it survives by quantizer and way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import CheckpointError
from harness.precision.base_modules import ModuleWeight
from harness.precision.layer_types import layer_quantizer
from harness.precision.lora_delta import LoraDelta
from harness.precision.random_numbers import RandomNumbers
from harness.precision.rounding import NEEDS_LARGEST
from harness.precision.row_blocks import row_blocks
from harness.precision.survival import (
    NO_SCALE,
    UNQUANTIZED,
    Largest,
    Rows,
    Survival,
    Way,
    changes,
    sums_of,
)
from harness.precision.weights_file import StoredWeight

if TYPE_CHECKING:
    import torch

    Factors = tuple[torch.Tensor, torch.Tensor]
    """A and B of a LoRA's layer, fp32."""

Applied = dict[tuple[str, Way], Survival]
"""By the quantizer's name and the way the LoRA is applied."""


@dataclass
class LayerAudit:
    """One module: its change, and what of it survives.

    Attributes:
        change: root mean square of the exact change.
        weight: root mean square of the base's weight, in the rows that were read; None without a base.
        stored: the base's name of the weight's type, as ``BF16`` or ``Q4_K``; None without a base.
    """

    module: str
    shape: tuple[int, int]
    rank: int
    change: float
    weight: float | None = None
    stored: str | None = None
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
            "stored": self.stored,
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


def measure(
    layer: LayerAudit,
    delta: LoraDelta,
    weight: ModuleWeight,
    quantizers: Sequence[str],
    rows: int | None,
    device: str,
) -> None:
    """Measure one layer, piece by piece of the base's weight.

    Args:
        layer: where to say what was found.
        quantizers: names that can run here.
        rows: how many to read, evenly spread; None reads all.
        device: ``cpu`` or ``cuda``: what computes.

    Raises:
        CheckpointError: the base's file cannot be read, or holds no number.
    """
    layer.stored = weight.stored.dtype
    meter = _Meter(delta, _plain(weight.stored), quantizers, device)
    looks = [Largest.include, Largest.include_merged] if rows is None else [Largest.include]
    for look in looks if meter.largest else ():
        for start, block in row_blocks(weight, None, device):
            meter.look(start, block, look)
    for start, block in row_blocks(weight, rows, device):
        meter.add(start, block)
    meter.into(layer)
    if not math.isfinite(layer.weight or 0.0):
        found = "holds weights that are NaN, infinite or beyond what is computed here"
        raise CheckpointError(found, file=weight.stored.file, field=layer.module, fix="copy the file again")


class Plain(NamedTuple):
    """A weight as it is computed with, no quantizer of ours in between.

    Attributes:
        name: in the place of a quantizer's.
        way: of adding the LoRA to it.
        dtype: that it is cast to.
    """

    name: str
    way: Way
    dtype: torch.dtype | None


def _plain(stored: StoredWeight) -> list[Plain]:
    """Return how a weight is computed with: as it is stored, or as tools unpack a GGUF's."""
    import torch

    if stored.block is None:
        return [Plain(UNQUANTIZED, "fused", None)]
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return [Plain(f"{stored.dtype}, {name}", "unpacked", dtype) for name, dtype in dtypes.items()]


class _Meter:
    """Sums over the pieces of one layer, which stay on the device until they are asked for."""

    def __init__(
        self,
        delta: LoraDelta,
        plain: list[Plain],
        quantizers: Sequence[str],
        device: str,
    ) -> None:

        self._a, self._b = (each.to(device) for each in delta.factors())
        self._exact = self._a.float(), self._b.float()
        self._scale, self._plain = delta.scale, plain
        self._quantizers = {name: layer_quantizer(name, delta.module) for name in quantizers}
        self.largest = {name: Largest() for name in sorted(NEEDS_LARGEST.intersection(quantizers))}
        self._live: dict[torch.dtype, Factors] = {}
        self._numbers = RandomNumbers(device)
        self._keys: list[tuple[str, Way]] = []
        self._sums: torch.Tensor | None = None
        self._count = 0

    def look(self, start: int, block: torch.Tensor, include: Callable[[Largest, str, Rows], None]) -> None:
        """Count the rows of the weight from ``start`` on for the quantizers with one scale for all."""
        exact = _product(self._exact, slice(start, start + len(block)), self._scale)
        rows = Rows.of(block.to(self._plain[0].dtype), exact)
        for name, largest in self.largest.items():
            include(largest, name, rows)

    def add(self, start: int, block: torch.Tensor) -> None:
        """Measure the rows of the weight from ``start`` on."""
        import torch

        part = slice(start, start + len(block))
        exact = _product(self._exact, part, self._scale)
        sums = [torch.dot(each, each) for each in (block.float().flatten(), exact.flatten())]
        self._keys.clear()
        for key, change in self._changes(part, block, exact):
            self._keys.append(key)
            sums.extend(sums_of(change, exact))
        added = torch.stack(sums).double()
        self._sums = added if self._sums is None else self._sums.add_(added)
        self._count += block.numel()

    def into(self, layer: LayerAudit) -> None:
        """Say what was found in ``layer``."""
        assert self._sums is not None
        squares, exact = self._sums[:2].tolist()
        layer.weight = (squares / self._count) ** 0.5
        for key, (agreement, change, moved) in zip(
            self._keys, self._sums[2:].view(-1, 3).tolist(), strict=True
        ):
            layer.applied[key] = Survival(agreement, change, exact, int(moved), self._count)

    def _changes(
        self, part: slice, block: torch.Tensor, exact: torch.Tensor
    ) -> Iterator[tuple[tuple[str, Way], torch.Tensor]]:
        """Yield what every quantizer and way changes, in the same order for every piece."""
        pieces = [(plain, Rows.of(block.to(plain.dtype), exact)) for plain in self._plain]
        for plain, rows in pieces:
            live = self._live_factors(rows.stored.dtype)
            same = live is self._exact
            yield (plain.name, "live"), exact if same else _product(live, part, self._scale)
            yield (plain.name, plain.way), rows.fused_values - rows.values
        for name, own in self._quantizers.items():
            for way, change in changes(pieces[0][1], own, self._numbers, self.largest.get(name, NO_SCALE)):
                yield (name, way), change

    def _live_factors(self, dtype: torch.dtype) -> Factors:
        """Return the factors in the base's dtype, as fp32: the exact ones where it holds them all."""
        if dtype not in self._live:
            a, b = (each.to(dtype).float() for each in (self._a, self._b))
            same = a.equal(self._exact[0]) and b.equal(self._exact[1])
            self._live[dtype] = self._exact if same else (a, b)
        return self._live[dtype]


def _product(factors: Factors, part: slice, scale: float) -> torch.Tensor:
    a, b = factors
    product = b[part] @ a
    return product if scale == 1 else product.mul_(scale)
