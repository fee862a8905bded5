"""Weights from main memory to a GPU through pinned buffers, several pieces at once.

``Module.to`` copies tensor after tensor on one thread, and weights that lie in a mapped file are read page by
page meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from harness.pipeline.copying import copy_all
from harness.pipeline.prefetch import take


def place(models: Iterable[nn.Module], device: str) -> None:
    """Move parameters and buffers to ``device``, bit for bit, as ``Module.to`` does.

    Raises:
        torch.OutOfMemoryError: they do not fit; some are moved by then.
    """
    tensors = {id(tensor): tensor for model in models for tensor in (*model.parameters(), *model.buffers())}
    todo = [
        tensor
        for tensor in tensors.values()
        if tensor.device.type == "cpu" and torch.device(device).type != "cpu" and tensor.is_contiguous()
    ]
    for tensor, there in zip(todo, take([tensor.data for tensor in todo]), strict=True):
        if there is not None:
            tensor.data = there
    todo = [tensor for tensor in todo if tensor.device.type == "cpu"]
    placed = [torch.empty_like(tensor.data, device=device) for tensor in todo]
    copy_all(zip((tensor.data for tensor in todo), placed, strict=True))
    for tensor, there in zip(todo, placed, strict=True):
        tensor.data = there
