"""How much of a LoRA's change a weight keeps after rounding: sums over rows, no weight need be whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.precision.rounding import rounded, rounded_at_random
from harness.schema.quantizers import STOCHASTIC

if TYPE_CHECKING:
    import torch

Way = Literal["fused", "merged", "stochastic", "live"]
WAYS: dict[Way, str] = {
    "fused": "added to the unquantized weight, which is quantized then",
    "merged": "added to the quantized weight, which is rounded to nearest again",
    "stochastic": "added to the quantized weight, which is rounded at random, as ComfyUI does",
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

    def add(self, change: torch.Tensor, exact: torch.Tensor) -> None:
        """Count some rows of one module, both in fp32."""
        import torch

        sums = [(change * exact).sum(), change.square().sum(), exact.square().sum(), change.count_nonzero()]
        agreement, size, wanted, moved = torch.stack([each.double() for each in sums]).tolist()
        self.include(Survival(agreement, size, wanted, int(moved), change.numel()))

    def include(self, other: Survival) -> None:
        """Count what ``other`` counted."""
        self.agreement += other.agreement
        self.change += other.change
        self.exact += other.exact
        self.moved += other.moved
        self.weights += other.weights

    @property
    def share(self) -> float:
        """Share of the exact change that remains: the projection onto it. Its square is of energy."""
        return self.agreement / self.exact if self.exact else 1.0

    @property
    def cosine(self) -> float:
        """Cosine of the change and the exact change, 0 where nothing moved."""
        size = (self.change * self.exact) ** 0.5
        return self.agreement / size if size else float(not self.exact)

    @property
    def moved_share(self) -> float:
        """Share of the weights that moved at all."""
        return self.moved / self.weights if self.weights else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the shares that a report shows."""
        shares = {"survival": self.share, "cosine": self.cosine, "moved": self.moved_share}
        return {name: round(value, 6) for name, value in shares.items()}


def changes(
    weight: torch.Tensor,
    delta: torch.Tensor,
    quantizer: str,
    generator: torch.Generator,
    largest: torch.Tensor | None = None,
) -> dict[Way, torch.Tensor]:
    """Return what each way of applying ``delta`` really changes in the rows of one weight, in fp32.

    Args:
        weight: rows × in, in the base's dtype.
        delta: the exact change, fp32.
        generator: for rounding at random, on the weight's device.
        largest: largest absolute value of the whole weight; see ``rounded``.
    """
    fused = (weight.float() + delta).to(weight.dtype)
    if quantizer == UNQUANTIZED:
        return {"fused": fused.float() - weight.float()}
    before = rounded(quantizer, weight, largest)
    wanted = before.float() + delta
    found: dict[Way, torch.Tensor] = {
        "fused": rounded(quantizer, fused, largest).float() - before.float(),
        "merged": rounded(quantizer, wanted.to(weight.dtype), largest).float() - before.float(),
    }
    if quantizer in STOCHASTIC:
        whole = before.abs().amax() if largest is None else largest
        found["stochastic"] = rounded_at_random(quantizer, wanted, generator, whole) - before.float()
    return found
