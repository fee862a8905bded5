"""How much of a LoRA's change a weight keeps after rounding: sums over rows, no weight need be whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from harness.precision.random_numbers import RandomNumbers
from harness.precision.rounding import largest_of, rounded_at_random, rounded_values
from harness.schema.quantizers import STOCHASTIC

if TYPE_CHECKING:
    import torch

Way = Literal["fused", "merged", "stochastic", "unpacked", "live"]
WAYS: dict[Way, str] = {
    "fused": "added to the unquantized weight, which is quantized then",
    "merged": "added to the quantized weight, which is rounded to nearest again",
    "stochastic": "added to the quantized weight, which is rounded at random, as ComfyUI does",
    "unpacked": "added to the weight each time that it is unpacked, in that dtype, as ComfyUI-GGUF does",
    "live": "beside the weight, its factors in the base's dtype",
}
UNQUANTIZED = "none"


@dataclass
class Survival:
    """What one way of applying a LoRA did to weights, against the exact change.

    Attributes:
        agreement: sum of change × exact change.
        change: sum of squares of the change.
        exact: sum of squares of the exact change.
        moved: weights that changed at all.
        weights: all of them.
    """

    agreement: float = 0.0
    change: float = 0.0
    exact: float = 0.0
    moved: int = 0
    weights: int = 0

    def include(self, other: Survival) -> None:
        """Count what ``other`` counted."""
        self.agreement += other.agreement
        self.change += other.change
        self.exact += other.exact
        self.moved += other.moved
        self.weights += other.weights

    @property
    def share(self) -> float:
        """Share of the exact change that remains: the projection onto it. Its square is of energy.

        0 where weights became NaN or infinite.
        """
        return _finite(self.agreement / self.exact) if self.exact else 1.0

    @property
    def cosine(self) -> float:
        """Cosine of the change and the exact change, 0 where nothing moved, or to NaN or infinity."""
        size = (self.change * self.exact) ** 0.5
        return _finite(self.agreement / size) if size else float(not self.exact)

    @property
    def moved_share(self) -> float:
        """Share of the weights that moved at all."""
        return self.moved / self.weights if self.weights else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the shares that a report shows."""
        shares = {"survival": self.share, "cosine": self.cosine, "moved": self.moved_share}
        return {name: round(value, 6) for name, value in shares.items()}


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def sums_of(change: torch.Tensor, exact: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return agreement, change and moved of some rows, both in fp32."""
    import torch

    changes, wanted = change.flatten(), exact.flatten()
    moved = torch.ne(changes, 0, out=torch.empty_like(changes))  # whole numbers, which is quicker than bool
    return torch.dot(changes, wanted), torch.dot(changes, changes), moved.sum()


@dataclass(frozen=True)
class Rows:
    """Some rows of one weight and the exact change of them, as every way of applying it needs them.

    Attributes:
        stored: rows × in, in the base's dtype.
        values: the same in fp32.
        exact: the exact change, fp32.
        fused: weight and change, in the base's dtype.
        fused_values: the same in fp32.
    """

    stored: torch.Tensor
    values: torch.Tensor
    exact: torch.Tensor
    fused: torch.Tensor
    fused_values: torch.Tensor

    @classmethod
    def of(cls, stored: torch.Tensor, exact: torch.Tensor) -> Rows:
        """Return what follows from some rows and their exact change."""
        values = stored.float()
        fused = (values + exact).to(stored.dtype)
        return cls(stored, values, exact, fused, fused.float())


@dataclass
class Largest:
    """Largest absolute values of one whole weight, where a quantizer takes its scale from them.

    Attributes:
        stored: of the weight in the base.
        fused: with the LoRA added to it.
        merged: with the LoRA added to what the quantizer made of it; None takes ``fused``, which is about the
            same, since a quantizer keeps the largest weight.
    """

    stored: torch.Tensor | None = None
    fused: torch.Tensor | None = None
    merged: torch.Tensor | None = None

    def include(self, name: str, rows: Rows) -> None:
        """Count some rows for the values that are known once every row was looked at once."""
        self.stored = _larger(name, rows.stored, self.stored)
        self.fused = _larger(name, rows.fused, self.fused)

    def include_merged(self, name: str, rows: Rows) -> None:
        """Count some rows for the value that needs the others."""
        before = rounded_values(name, rows.stored, rows.values, self.stored)
        self.merged = _larger(name, (before + rows.exact).to(rows.stored.dtype), self.merged)


def _larger(name: str, rows: torch.Tensor, known: torch.Tensor | None) -> torch.Tensor:
    found = largest_of(name, rows)
    return found if known is None else found.maximum(known)


NO_SCALE: Final = Largest()
"""Of quantizers that need none."""


def changes(
    rows: Rows, quantizer: str | None, numbers: RandomNumbers, largest: Largest = NO_SCALE
) -> Iterator[tuple[Way, torch.Tensor]]:
    """Yield what each way of applying a LoRA really changes in ``rows``, in fp32.

    Args:
        quantizer: None where the weights stay as they are.
        numbers: for rounding at random, on the weight's device.
        largest: for a quantizer of ``NEEDS_LARGEST``.
    """
    before = rounded_values(quantizer, rows.stored, rows.values, largest.stored)
    yield "fused", rounded_values(quantizer, rows.fused, rows.fused_values, largest.fused) - before
    wanted = before + rows.exact
    merged, size = wanted.to(rows.stored.dtype), largest.fused if largest.merged is None else largest.merged
    yield "merged", rounded_values(quantizer, merged, merged.float(), size) - before
    if quantizer is not None and quantizer in STOCHASTIC:
        yield (
            "stochastic",
            rounded_at_random(quantizer, wanted, numbers.like(wanted), largest.stored).sub_(before),
        )
