"""What the loss of a LoRA in the weights does to pictures, as it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.precision.survival import UNQUANTIZED, Survival, Way


@dataclass(frozen=True)
class ExpectedDrift:
    """LPIPS between a LoRA merged into quantized weights and the same base with it live.

    In parts of the LoRA's whole effect, which is LPIPS between renders with and without it.

    Attributes:
        renders: of how many it was measured.
        middle: their median.
        low: 10th percentile.
        high: 90th percentile; above 1 another picture altogether.
    """

    renders: int
    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        spread = f"{self.middle:.0%} of the LoRA's own effect, {self.low:.0%} to {self.high:.0%}"
        return f"expect a picture that is off by about {spread} ({SOURCE}: {self.renders} renders)"


@dataclass(frozen=True)
class Loss:
    """A finding before any render: what one way of applying a LoRA rounds away.

    Attributes:
        lost: share of the exact change that does not remain, 0 to 1.
        expected: what was measured for such a loss; None for ways in which none was measured.
    """

    quantizer: str
    way: Way
    lost: float
    expected: ExpectedDrift | None

    def to_json(self) -> dict[str, Any]:
        """Return the finding's entry of the JSON object."""
        expected = None if self.expected is None else {**asdict(self.expected), "source": SOURCE}
        return {
            "quantize": self.quantizer,
            "way": self.way,
            "lost": round(self.lost, 6),
            "expected": expected,
        }


SOURCE = "LPIPS on the checkpoint that draws, docs/quantization.md"

LEAST = 0.01
"""Share that is lost at least to be told."""

_MEASURED = (
    (0.5, ExpectedDrift(10, 0.78, 0.37, 1.13)),
    (0.15, ExpectedDrift(30, 0.26, 0.09, 0.55)),
    (0.05, ExpectedDrift(14, 0.17, 0.04, 0.32)),
    (LEAST, ExpectedDrift(10, 0.03, 0.01, 0.16)),
)
"""By the least share that is lost. Printed by ``python benchmarks/low_precision.py``."""


def losses(total: Mapping[tuple[str, Way], Survival]) -> list[Loss]:
    """Return the ways that round at least 1 % of a LoRA away, in the order of ``total``."""
    lost = {key: min(1.0, 1 - each.share) for key, each in total.items()}
    return [
        Loss(name, way, share, _expected(share) if way == "merged" else None)
        for (name, way), share in lost.items()
        if name != UNQUANTIZED and share >= LEAST
    ]


def _expected(lost: float) -> ExpectedDrift:
    return next(drift for least, drift in _MEASURED if lost >= least)
