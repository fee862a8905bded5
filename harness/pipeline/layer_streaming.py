"""Offload by model: the text encoders stay in main memory and stream through the GPU.

diffusers' ``enable_model_cpu_offload`` sends every model back after every call: for Flex.2, 16 GB both ways
for each render. Here only the encoders are not on the GPU. Prompts are encoded once; then each layer comes
when it is called.
"""

from __future__ import annotations

from typing import Any

ENCODERS = ("text_encoder", "text_encoder_2")


def stream_encoders(pipe: Any, device: str) -> None:
    """Put every model on ``device``, but of the encoders each layer only when it is called.

    The encoders must have no hooks.
    """
    import torch
    from accelerate import cpu_offload

    for name, model in pipe.components.items():
        if name in ENCODERS:
            cpu_offload(model, torch.device(device))
        elif isinstance(model, torch.nn.Module):
            model.to(device)
