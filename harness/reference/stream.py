"""Offload by model: the text encoders stay in main memory and stream through the GPU.

diffusers' ``enable_model_cpu_offload`` sends every model back after every call: for Flex.2, 16 GB both ways
for each render. Here the transformer and the VAE stay on the GPU; prompts are encoded once, and then each
layer of an encoder comes when it is called.
"""

from __future__ import annotations

from typing import Any

ENCODERS = ("text_encoder", "text_encoder_2")


def stream_encoders(pipe: Any, device: str) -> None:
    """Leave the encoders' weights in main memory, to come to ``device`` layer by layer when called.

    The encoders must have no hooks. What is done to each is what diffusers'
    ``enable_sequential_cpu_offload`` does to every model.
    """
    import torch
    from accelerate import cpu_offload

    for name in ENCODERS:
        encoder = getattr(pipe, name)
        own_weights = len(encoder._parameters) > 0
        cpu_offload(encoder, torch.device(device), offload_buffers=own_weights)
