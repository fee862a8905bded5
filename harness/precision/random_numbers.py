"""Random numbers of one layer, most of them drawn once and used again elsewhere in it.

On the CPU drawing a number takes as long as a third of all else that an audit does with a weight.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class RandomNumbers:
    """Numbers from 0 to below 1, on a device; the same ones in the same order for every layer."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._places = random.Random(0)
        self._drawn: torch.Tensor | None = None

    def like(self, rows: torch.Tensor) -> torch.Tensor:
        """Return numbers of the shape of ``rows``, fp32, not to be written to.

        They are some that follow each other in twice as many, from a random place on: no number keeps its
        place, so that what they do to one piece of a layer does not add up over the others.
        """
        import torch

        count = rows.numel()
        if self._drawn is None or len(self._drawn) < 2 * count:
            generator = torch.Generator(self._device).manual_seed(0)
            self._drawn = torch.rand(2 * count, generator=generator, device=self._device)
        start = self._places.randrange(len(self._drawn) - count + 1)
        return self._drawn[start : start + count].view(rows.shape)
