"""What a base needs of a GPU's memory, and where its weights are while they are not in use.

diffusers' ``enable_model_cpu_offload`` moves every model back after every call: for Flex.2, 16 GB both ways
for each render. Here only the text encoders stay in main memory, and each of their layers is moved to the GPU
when it is called. Prompts are encoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.pipeline.checkpoint import Checkpoint
from harness.schema.render import Offload

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

HEADROOM = 1.25
"""GPU memory of a render, in that of its weights: latents, activations and saved weights come on top."""

GIB = 2**30
_NEXT: dict[Offload, Offload] = {"none": "model", "model": "sequential"}


def needs(checkpoint: Checkpoint) -> dict[Offload, int]:
    """Return the bytes of GPU memory that an offload mode needs; ``sequential`` runs in whatever there is."""
    sizes = checkpoint.component_bytes()
    on_gpu = sum(size for name, size in sizes.items() if not name.startswith("text_encoder"))
    return {"none": int(sum(sizes.values()) * HEADROOM), "model": int(on_gpu * HEADROOM)}


def choose_offload(wanted: Offload, needed: dict[Offload, int], free: int) -> Offload:
    """Return the wanted offload mode; for ``auto``, the fastest that needs less than ``free`` bytes."""
    if wanted != "auto":
        return wanted
    return next((mode for mode, size in needed.items() if size < free), "sequential")


def next_offload(offload: Offload) -> Offload | None:
    """Return the mode that needs less memory than ``offload``, or None for the last."""
    return _NEXT.get(offload)


def memory_line(name: str, needed: dict[Offload, int], free: int, wanted: Offload) -> str:
    """Say in one line what a base needs, what is free, and how it will run."""
    parts = ", ".join(f"{size / GIB:.1f} GiB with offload {mode}" for mode, size in needed.items())
    chosen = choose_offload(wanted, needed, free)
    return f"{name} needs about {parts}; {free / GIB:.1f} GiB of GPU memory are free: offload {chosen}"


def offload_encoders(pipe: DiffusionPipeline, device: str, encoders: tuple[str, ...]) -> None:
    """Put every model on ``device``, but of ``encoders`` each layer only while it is called.

    The encoders must have no hooks.
    """
    import torch
    from accelerate import cpu_offload

    from harness.pipeline.placing import place

    for name, model in pipe.components.items():
        if name in encoders:
            cpu_offload(model, torch.device(device))
        elif isinstance(model, torch.nn.Module):
            place([model], device)
            model.to(device)
