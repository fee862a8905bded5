"""The exact change that a LoRA asks of a weight, row by row, as diffusers reads the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.precision.weights_file import StoredWeight, read_rows, stored_weights
from harness.schema.lora_file import LoraFile
from harness.schema.lora_forms import find_layers

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoraDelta:
    """B·A of one module at a scale.

    Attributes:
        first_row: of B, where B serves several modules.
        scale: the file's own scale times the multiplier.
    """

    module: str
    a: StoredWeight
    b: StoredWeight
    first_row: int
    rows: int
    scale: float

    @property
    def columns(self) -> int:
        """Input features."""
        return self.a.shape[1]

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return A, rank × in, and this module's rows of B, out × rank, as stored."""
        a = read_rows(self.a, 0, self.a.shape[0])
        return a, read_rows(self.b, self.first_row, self.first_row + self.rows)


def lora_deltas(lora: LoraFile, multiplier: float) -> Iterator[LoraDelta]:
    """Yield the change of every module, in the order of the file."""
    stored = stored_weights(lora.path)
    for layer in find_layers(lora.path, lora.tensors, lora.form):
        converted = 1.0
        if layer.alpha is not None and lora.form not in {"peft", "down-up"}:
            alpha = (
                read_rows(stored[layer.alpha], 0, 1)
                if stored[layer.alpha].shape
                else _scalar(stored[layer.alpha])
            )
            converted = float(alpha.float().item()) / layer.rank
        first = 0
        for module, rows in zip(layer.modules, layer.split(), strict=True):
            scale = multiplier * lora.scales[module] * converted
            yield LoraDelta(module, stored[layer.a], stored[layer.b], first, rows, scale)
            first += rows


def _scalar(stored: StoredWeight) -> torch.Tensor:
    return read_rows(StoredWeight(stored.file, stored.dtype, (1,), stored.begin), 0, 1)
