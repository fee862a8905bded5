"""Offload by model: the transformer and the text encoders take turns on the GPU.

diffusers' ``enable_model_cpu_offload`` sends every model back after every call: for Flex.2, 16 GB both ways
for each render. Prompts are encoded once, so here the transformer leaves only for a prompt that is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

ENCODERS = ("text_encoder", "text_encoder_2")


@contextmanager
def encoders_turn(pipe: Any, device: str) -> Iterator[None]:
    """Have the encoders on ``device`` and the transformer in main memory, then the other way round."""
    _move(pipe, "cpu", "transformer")
    _move(pipe, device, *ENCODERS)
    try:
        yield
    finally:
        _move(pipe, "cpu", *ENCODERS)
        _move(pipe, device, "transformer")


def _move(pipe: Any, device: str, *names: str) -> None:
    with torch.inference_mode(False):  # LoRAs are fused into these weights outside of it
        for name in names:
            getattr(pipe, name).to(device)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # so that one large model finds room where another was
