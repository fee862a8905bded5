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

GIB = 2**30
WORKING = int(5.7 * GIB)
"""What a render of 1024² takes of an H200 beside its weights: latents, activations, and what CUDA and torch's
allocator hold; bytes. Of 45.4 GiB in use, 39.5 were weights and the copy for a LoRA of 340 modules."""

_NEXT: dict[Offload, Offload] = {"none": "model", "model": "sequential"}


def needs(checkpoint: Checkpoint, pixels: int = 1 << 20) -> dict[Offload, int]:
    """Return the bytes of GPU memory that an offload mode needs; ``sequential`` runs in whatever there is.

    Args:
        pixels: of the largest call, all images of a batch.
    """
    sizes = checkpoint.component_bytes()
    on_gpu = sum(size for name, size in sizes.items() if not name.startswith("text_encoder"))
    working = int(WORKING * max(1.0, pixels / (1 << 20)))
    return {"none": sum(sizes.values()) + working, "model": on_gpu + working}


def choose_offload(wanted: Offload, needed: dict[Offload, int], free: int) -> Offload:
    """Return the wanted offload mode; for ``auto``, the fastest that needs less than ``free`` bytes."""
    if wanted != "auto":
        return wanted
    return next((mode for mode, size in needed.items() if size < free), "sequential")


def next_offload(offload: Offload) -> Offload | None:
    """Return the mode that needs less memory than ``offload``, or None for the last."""
    return _NEXT.get(offload)


def memory_line(
    name: str, needed: dict[Offload, int], free: int, wanted: Offload, saved: int = 0, *, reread: bool = False
) -> str:
    """Say in one line what a base needs, what is free, and how it will run.

    Args:
        saved: bytes of the weights that LoRAs change, which are restored for the next one.
        reread: they can be read from the base's files.
    """
    parts = ", ".join(f"{size / GIB:.1f} GiB with offload {mode}" for mode, size in needed.items())
    chosen = choose_offload(wanted, needed, free)
    line = f"{name} needs about {parts}; {free / GIB:.1f} GiB of GPU memory are free: offload {chosen}"
    if not saved:
        return line
    if chosen == "none" and needed["none"] + saved < free:
        whole = (needed["none"] + saved) / GIB
        return f"{line}, {whole:.1f} GiB with a copy of the weights that LoRAs change"
    if reread:
        return f"{line}; the weights that LoRAs change, {saved / GIB:.1f} GiB, are read again from the base"
    return f"{line}, and in main memory a copy of the weights that LoRAs change, {saved / GIB:.1f} GiB"


def offload_encoders(pipe: DiffusionPipeline, device: str, encoders: tuple[str, ...]) -> None:
    """Put every model on ``device``, but of ``encoders`` each layer only while it is called.

    The encoders must have no hooks.
    """
    import torch
    from accelerate import cpu_offload

    from harness.pipeline.placing import place

    models = {name: each for name, each in pipe.components.items() if isinstance(each, torch.nn.Module)}
    staying = [model for name, model in models.items() if name not in encoders]
    place(staying, device)
    for model in staying:
        model.to(device)
    for name in encoders:
        cpu_offload(models[name], torch.device(device))
