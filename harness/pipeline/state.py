"""One loaded pipeline and what requests change about it: LoRA, quantization, prompts, transformer calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.pipeline.attention import set_t5_attention
from harness.pipeline.engine.exact import Engine, why_eager
from harness.pipeline.engine.outlook import Outlook
from harness.pipeline.load import LoadedPipeline
from harness.pipeline.lora import LoraSwitch, RoundedBase
from harness.pipeline.prompt_cache import PromptCache
from harness.pipeline.quantize import QuantizedParts
from harness.pipeline.transformer_calls import FirstCallCache, route_calls
from harness.schema.render import EngineName, RenderRequest


@dataclass
class EngineReport:
    """How one render's transformer calls were made.

    Attributes:
        eager_reason: why they were eager; empty where the engine made them.
        note: what the engine made them with, where not with all it has.
        seconds: spent on compiling, capturing and proving.
    """

    eager_reason: str
    note: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


class PipelineState:
    """One loaded pipeline with everything about it that a request can change.

    Args:
        outlook: says for which renders the exact engine pays.
    """

    def __init__(self, loaded: LoadedPipeline, outlook: Outlook) -> None:
        self.loaded = loaded
        self.prompts = PromptCache(loaded.pipe)
        self.first_calls = FirstCallCache()
        self._loras = LoraSwitch(loaded)
        self._quantized = QuantizedParts(loaded)
        self._outlook = outlook
        outlook.begin()
        self._engine = Engine(loaded.pipe.transformer, loaded.device)

    def prepare(self, request: RenderRequest) -> None:
        """Apply the request's quantization and LoRA; what it does not change stays."""
        wanted = request.quantize, request.layers_left_out, request.unpacking
        if self._quantized.current != wanted:
            self._loras.apply(None)
            self._loras.forget_weights()
            self._quantized.apply(*wanted)
        self.prompts.encoders = f"{request.quantize} {request.t5_attention}"
        set_t5_attention(self.loaded.pipe.text_encoder_2, request.t5_attention)
        self._loras.apply(request.lora, request.effective_lora_mode, self._rounded_base(request))

    def _rounded_base(self, request: RenderRequest) -> RoundedBase | None:
        """Return what a merge into rounded weights needs; None where nothing is rounded."""
        quantizer = request.transformer_quantizer
        if quantizer is None:
            return None
        weights = self._quantized.unquantized_weights()
        return RoundedBase(quantizer, weights, request.layers_left_out, request.unpacking)

    @contextmanager
    def transformer_calls(self, request: RenderRequest, wanted: EngineName) -> Iterator[EngineReport]:
        """Route the request's transformer calls; the report that is yielded is complete at the end."""
        reason = why_eager(wanted, request, self.loaded.device, self.loaded.offload)
        if reason is None and wanted == "auto":
            reason = self._outlook.why_not(request)
        report = EngineReport(reason or "")
        engine = None if report.eager_reason else self._engine
        unseen = (request.attention or "", request.dialect.timestep, request.dialect.kernels)
        weights = (*request.weights_key, *unseen)
        with route_calls(self.loaded.pipe.transformer, weights, self.first_calls, engine):
            yield report
        if engine is None:
            return
        report.eager_reason, report.note, report.seconds = engine.failed, engine.note, engine.seconds
        if not engine.failed:
            self._outlook.took(request, engine.seconds)
        if engine.failed:
            report.warnings = (f"rendered eagerly: {engine.failed}",)
        elif engine.note:
            report.warnings = (f"rendered with {engine.note}",)
