"""Prompt embeddings, computed once per content and shared by every render of one pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.pipeline.load import quiet

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

MAX_PROMPTS = 256


class PromptCache:
    """Stands in for a pipeline's ``encode_prompt``; hits return the very tensors of the first call.

    Args:
        pipe: any pipeline with diffusers' ``encode_prompt``.

    Attributes:
        encoders: names the encoders in use: what one has encoded is no hit for another.
        encoded: prompts that were encoded; the others were hits.
    """

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self._encode = pipe.encode_prompt
        self._embeddings: dict[str, Any] = {}
        self.encoders = "none"
        self.encoded = 0
        pipe.encode_prompt = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Encode, or return what the same arguments gave before; calls with tensors pass through."""
        if any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values())):
            return self._encode(*args, **kwargs)
        key = repr((self.encoders, args, sorted(kwargs.items())))
        if key not in self._embeddings:
            if len(self._embeddings) >= MAX_PROMPTS:
                self._embeddings.pop(next(iter(self._embeddings)))
            with quiet():  # of a long prompt they print all that is cut off, as the trainer cuts it off too
                self._embeddings[key] = self._encode(*args, **kwargs)
            self.encoded += 1
        return self._embeddings[key]
