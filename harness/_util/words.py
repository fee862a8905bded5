"""Lists of names, counts and sizes in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def some(names: Iterable[object], limit: int = 3) -> str:
    """Return the first ``limit`` names in order, and how many more there are."""
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


def size_text(size: tuple[int, int]) -> str:
    """Return a width and a height as ``1024×768``."""
    return f"{size[0]}×{size[1]}"


def counts_in_words(counts: Mapping[Any, int], order: Iterable[str]) -> str:
    """Return what was counted in the given order, ``3 match, 1 drift``; nothing of what there is none of."""
    return ", ".join(f"{counts[name]} {name}" for name in order if counts[name])
