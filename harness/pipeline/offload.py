"""What a base needs of a GPU's memory, and where its weights wait while they are not in use."""

from __future__ import annotations

from harness.pipeline.checkpoint import Checkpoint
from harness.pipeline.layer_streaming import ENCODERS
from harness.schema.render import Offload

HEADROOM = 1.25
"""Weights times this is what a render takes with them: latents, activations, a LoRA's kept weights."""

GIB = 2**30
_NEXT: dict[Offload, Offload] = {"none": "model", "model": "sequential"}


def needs(checkpoint: Checkpoint) -> dict[Offload, int]:
    """Return the bytes of GPU memory that an offload mode needs; ``sequential`` runs in whatever there is."""
    sizes = checkpoint.component_bytes()
    stays = sum(size for name, size in sizes.items() if name not in ENCODERS)
    return {"none": int(sum(sizes.values()) * HEADROOM), "model": int(stays * HEADROOM)}


def choose_offload(wanted: Offload, needed: dict[Offload, int], free: int) -> Offload:
    """Return the wanted offload mode, else the fastest that fits into ``free`` bytes of GPU memory."""
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
