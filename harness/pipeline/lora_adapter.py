"""LoRA arithmetic other than PEFT's fuse: a live adapter, and merges of a product in fp32.

AI Toolkit samples with the adapter where a job is quantized or has several multipliers, else with the merge.
Source: ``ostris/ai-toolkit``, ``toolkit/network_mixins.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from harness.pipeline.lora_weights import lora_source
from harness.schema.lora_file import LoraFile

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel
    from torch.utils.hooks import RemovableHandle


class LiveAdapter:
    """Adds ``multiplier · B(A(x))`` to the layers' outputs.

    In fp32 it is rounded once, as the trainer has it; in the model's dtype after every operation, as PEFT has
    an adapter that is not fused.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def attach(
        self,
        transformer: FluxTransformer2DModel,
        lora: LoraFile,
        multiplier: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Hook every module that ``lora`` names, and compute in ``dtype``."""
        device = next(transformer.parameters()).device
        modules = dict(transformer.named_modules())
        for name, (a, b) in lora_factors(lora, device).items():
            hook = _hook(a.to(dtype), b.to(dtype), multiplier)
            self._handles.append(modules[name].register_forward_hook(hook))

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def merge_fp32(transformer: FluxTransformer2DModel, lora: LoraFile, multiplier: float) -> None:
    """Add ``multiplier · B·A`` to the weights in fp32 and round once to their dtype."""
    weights = dict(transformer.named_parameters())
    device = next(transformer.parameters()).device
    for name, (a, b) in lora_factors(lora, device).items():
        weight = weights[f"{name}.weight"].data
        weight.copy_(weight.float() + multiplier * (b @ a))


def merge_unpacked(transformer: FluxTransformer2DModel, lora: LoraFile, multiplier: float) -> None:
    """Round ``multiplier · B·A``, then add it to weights that are not rounded again, as ComfyUI-GGUF does.

    Source: ``city96/ComfyUI-GGUF``, ``ops.py``, which calls ComfyUI's ``calculate_weight``.
    """
    weights = dict(transformer.named_parameters())
    for name, (a, b) in lora_factors(lora, next(transformer.parameters()).device).items():
        weight = weights[f"{name}.weight"].data
        weight.add_((multiplier * (b @ a)).to(weight.dtype))


def lora_factors(lora: LoraFile, device: torch.device) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return (A, B) in fp32 by module: A is rank × in, B is out × rank, with the file's own scale in B.

    diffusers converts keys of other tools, as it does where the LoRA is fused.
    """
    from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin

    tensors, _ = FluxLoraLoaderMixin.lora_state_dict(**lora_source(lora), return_alphas=True)

    def factor(module: str, side: str) -> torch.Tensor:
        weights: torch.Tensor = tensors[f"transformer.{module}.lora_{side}.weight"]
        return weights.to(device, torch.float32)

    return {
        module: (factor(module, "A"), factor(module, "B") * lora.scales[module]) for module in lora.modules
    }


def _hook(a: torch.Tensor, b: torch.Tensor, multiplier: float) -> Callable[..., torch.Tensor]:
    def add(_module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        delta = torch.nn.functional.linear(torch.nn.functional.linear(inputs[0].to(a.dtype), a), b)
        return output + (delta * multiplier).to(output.dtype)

    return add
