"""Switch LoRAs on one loaded pipeline so that any sequence gives the bits of a fresh process.

The reference fuses, unfuses and fuses again; unfusing does not restore bf16 weights, and a changed scale
multiplies the old one. Here the weights that a LoRA changes are saved before the first merge and restored
before the next (``originals``): exact, whatever came before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness._util.lean_imports import lean_imports
from harness.errors import LoraError
from harness.pipeline.fused_factors import FusedFactors
from harness.pipeline.load import LoadedPipeline, quiet
from harness.pipeline.lora_adapter import LiveAdapter, merge_fp32, merge_unpacked
from harness.pipeline.lora_shapes import check_lora_shapes
from harness.pipeline.lora_weights import lora_source
from harness.pipeline.originals import Originals
from harness.pipeline.rounded_merge import merge_rounded
from harness.schema.lora_file import LoraFile, inspect_lora
from harness.schema.render import Lora, LoraMode, Unpacking

if TYPE_CHECKING:
    import torch
    from diffusers import FluxTransformer2DModel

ADAPTER = "lora"
NOTHING: tuple[Lora | None, LoraMode] = (None, "none")


@dataclass(frozen=True)
class RoundedBase:
    """A transformer with quantized weights.

    Attributes:
        quantizer: its name.
        weights: as they were before, by name.
        exclude: patterns of layers that are not quantized.
        unpacking: dtype that weights of a GGUF's type are unpacked in.
    """

    quantizer: str
    weights: Mapping[str, torch.Tensor]
    exclude: tuple[str, ...] = ()
    unpacking: Unpacking = "fp16"


class LoraSwitch:
    """The LoRA state of one pipeline: nothing, or one LoRA applied in one way at one multiplier."""

    def __init__(self, loaded: LoadedPipeline) -> None:
        self._loaded = loaded
        self._originals = Originals(loaded)
        self._merged = False
        self._adapter = LiveAdapter()
        self._factors = FusedFactors()
        self._current: tuple[Lora | None, LoraMode] | None = NOTHING

    def forget_weights(self) -> None:
        """Drop the saved weights: the pipeline gets another transformer. It must hold no LoRA."""
        self._originals.forget()
        self._factors.forget()

    def apply(self, lora: Lora | None, mode: LoraMode = "fused", base: RoundedBase | None = None) -> None:
        """Leave ``lora`` in the transformer, applied as ``mode`` says, and nothing else.

        Args:
            base: of a transformer with quantized weights.

        Raises:
            LoraError: the file is unsafe, of another kind, or fits the transformer only in part.
            CheckpointError: the base was changed since it was loaded, and its weights are not kept.
        """
        wanted = NOTHING if lora is None or mode == "none" else (lora, mode)
        if wanted == self._current:
            return
        pipe = self._loaded.pipe
        if self._loaded.offload != "none":
            pipe.remove_all_hooks()  # diffusers takes a pipeline with some for one offloaded sequentially
            pipe.transformer.to(self._loaded.device)  # CPU and GPU fuse to different bits
        try:
            again = lora is not None and mode == "fused" and base is None and self._can_fuse_again(lora)
            self._restore()
            if lora is not None and again:
                self._merged = True
                self._factors.merge(self._weights(), lora.network_multiplier)
            elif lora is not None and mode != "none":
                self._add(lora, mode, base)
        finally:
            if self._loaded.offload != "none":
                self._loaded.place()
        self._current = wanted

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.data for name, weight in self._loaded.pipe.transformer.named_parameters()}

    def _can_fuse_again(self, lora: Lora) -> bool:
        """Whether the factors of ``lora`` are kept, and give what is fused now."""
        if not self._factors.proved and (self._current is None or self._current[1] != "fused"):
            return False
        return self._factors.prove(_key(lora), self._weights(), self._originals)

    def _add(self, lora: Lora, mode: LoraMode, base: RoundedBase | None) -> None:
        transformer = self._loaded.pipe.transformer
        checked = inspect_lora(lora.file)
        check_lora_shapes(
            checked, {name: tuple(weight.shape) for name, weight in transformer.named_parameters()}
        )
        if mode in {"adapter", "peft"}:
            dtype = transformer.dtype if mode == "peft" else torch.float32
            self._adapter.attach(transformer, checked, lora.network_multiplier, dtype)
            return
        names = (f"{module}.weight" for module in checked.modules)
        self._originals.save(names, self._weights(), as_loaded=base is None)
        self._merged = True
        if mode == "unpacked":
            merge_unpacked(transformer, checked, lora.network_multiplier)
        elif base is not None:
            merge_rounded(
                transformer,
                checked,
                lora.network_multiplier,
                base.quantizer,
                mode,
                base.weights,
                base.exclude,
                base.unpacking,
            )
        elif mode == "fp32":
            merge_fp32(transformer, checked, lora.network_multiplier)
        else:
            self._fuse(lora, checked)

    def _restore(self) -> None:
        self._adapter.detach()
        self._current = None
        if self._merged:
            self._originals.restore(self._weights())
            self._merged = False
        self._current = NOTHING

    def _fuse(self, lora: Lora, checked: LoraFile) -> None:
        pipe = self._loaded.pipe
        try:
            with lean_imports(), quiet():
                source = lora_source(checked, next(pipe.transformer.parameters()).device)
                pipe.load_lora_weights(**source, adapter_name=ADAPTER)
            injected = _injected(pipe.transformer)
            if others := sorted(set(checked.modules) ^ injected):
                raise LoraError(
                    f"diffusers loaded {len(injected)} modules of the {len(checked.modules)} that the file "
                    f"holds; it differs in {', '.join(others[:3])}",
                    file=lora.file,
                    fix="the file is not a Flex.2 LoRA of AI Toolkit",
                )
            self._factors.keep(pipe.transformer, ADAPTER, _key(lora), lora.network_multiplier)
            pipe.fuse_lora(adapter_names=[ADAPTER], lora_scale=lora.network_multiplier)
        finally:
            pipe.unload_lora_weights()


def _key(lora: Lora) -> tuple[str, str]:
    return (str(lora.file), lora.sha256)


def _injected(transformer: FluxTransformer2DModel) -> set[str]:
    """Return the names of the modules that hold the adapter."""
    return {
        name
        for name, module in transformer.named_modules()
        if ADAPTER in getattr(module, "lora_A", {}) and ADAPTER in getattr(module, "lora_B", {})
    }
