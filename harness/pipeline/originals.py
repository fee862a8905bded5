"""The weights that LoRAs change, as they were before: copied, or read again from the checkpoint's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from harness.pipeline.load import LoadedPipeline, free_memory
from harness.pipeline.offload import WORKING
from harness.pipeline.stored_weights import Stored, read_stored

BATCH = 512 << 20
"""Bytes of weights that are read again at once to be compared."""

Weights = Mapping[str, Tensor]


class Originals:
    """What restores the weights of one pipeline's transformer, bit for bit.

    A copy is fastest, where it fits beside the weights. Otherwise they are read again from their files.
    Only what no file holds as it is, is copied to main memory.
    """

    def __init__(self, loaded: LoadedPipeline) -> None:
        self._loaded = loaded
        self._copies: dict[str, Tensor] = {}
        self._stored: dict[str, Stored] = {}

    def forget(self) -> None:
        """Drop everything: the pipeline gets another transformer."""
        self._copies.clear()
        self._stored.clear()

    def save(self, names: Iterable[str], weights: Weights, *, as_loaded: bool) -> None:
        """Save those of ``names`` that are not saved yet.

        Args:
            as_loaded: the transformer is the checkpoint's own, not a quantized one.
        """
        new = [name for name in names if name not in self._copies and name not in self._stored]
        beside = self._fit_beside(sum(weights[name].nbytes for name in new))
        for name in new:
            stored = self._loaded.stored.get(name) if as_loaded else None
            if beside:
                self._copies[name] = weights[name].clone()
            elif stored is not None:
                self._stored[name] = stored
            else:
                self._copies[name] = self._in_main_memory(weights[name])

    def restore(self, weights: Weights) -> None:
        """Give ``weights`` the values of all that is saved.

        Raises:
            CheckpointError: a file was changed since; some weights may be restored by then.
        """
        read_stored((stored, weights[name]) for name, stored in self._stored.items())
        for name, copy in self._copies.items():
            weights[name].copy_(copy, non_blocking=True)

    def copies(self, names: Iterable[str], weights: Weights) -> Iterator[tuple[str, Tensor]]:
        """Yield name and a new copy of each original, on the device of its weight.

        Raises:
            CheckpointError: a file was changed since.
        """
        for batch in _batches(names, weights):
            made = {name: torch.empty_like(weights[name]) for name in batch if name in self._stored}
            read_stored((self._stored[name], tensor) for name, tensor in made.items())
            for name in batch:
                device = weights[name].device
                yield name, made.pop(name) if name in made else self._copies[name].to(device, copy=True)

    def _fit_beside(self, size: int) -> bool:
        """Whether so many bytes more fit where the weights are, which are all there."""
        if self._loaded.offload != "none":
            return False
        return self._loaded.device == "cpu" or free_memory() > size + WORKING

    def _in_main_memory(self, weight: Tensor) -> Tensor:
        """Return a copy; on CUDA a pinned one, which comes back at the bus's full speed."""
        return torch.empty_like(weight, device="cpu", pin_memory=self._loaded.device == "cuda").copy_(weight)


def _batches(names: Iterable[str], weights: Weights) -> Iterator[list[str]]:
    """Yield names of weights of at most ``BATCH`` bytes together, or of one."""
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and size + weights[name].nbytes > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += weights[name].nbytes
    if batch:
        yield batch
