"""What a change of a setting costs before the model is called, known beforehand by its kind.

The unit is a render of the case's own. Of two trials that are as likely, the cheaper comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.diagnosis.factors import LORA_AXES, Factor

LOADS, MERGES = 8.0, 0.5
"""The base is loaded in another dtype, and again for the trial after it; a LoRA is read and fused. Rough, at
full size on a GPU: only their order counts."""

HOLDS_SCORES = "_native_math"
"""The attention kernel that holds all scores in memory: slow on a GPU."""

_PRICES = {"dtype": LOADS, **dict.fromkeys(LORA_AXES, MERGES)}


def price(axis: str) -> float:
    """Return what a change of an axis costs before its first call of the model; 0 where weights stay."""
    return _PRICES.get(axis, 0.0)


def is_dear(factor: Factor, device: str) -> bool:
    """Whether the first value of a factor costs several renders on ``device``: on a GPU some do."""
    return device == "cuda" and (price(factor.axis.name) >= LOADS or factor.values[0] == HOLDS_SCORES)


def split(found: Iterable[Factor]) -> tuple[list[Factor], list[Factor]]:
    """Return the factors for which the base stays loaded, the cheapest first, and those that load it anew.

    Those of one axis stay together, in their own order.
    """
    ranked = sorted(found, key=lambda each: price(each.axis.name))
    stays = [each for each in ranked if price(each.axis.name) < LOADS]
    return stays, ranked[len(stays) :]
