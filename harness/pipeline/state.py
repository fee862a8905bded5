"""One loaded pipeline and its state: LoRA, quantization, prompt embeddings, how the transformer is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.pipeline.engine.exact import Engine, why_eager
from harness.pipeline.first_calls import FirstCalls, calling
from harness.pipeline.load import LoadedPipeline
from harness.pipeline.lora import LoraSwitch
from harness.pipeline.prompt_cache import PromptCache
from harness.pipeline.quantize import QuantizedParts
from harness.schema.render import EngineName, RenderRequest


@dataclass
class EngineUse:
    """How one render's transformer calls were made: eager for a reason, or exact, perhaps with a note."""

    reason: str
    note: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


class Session:
    """One loaded pipeline with everything about it that a request can change."""

    def __init__(self, loaded: LoadedPipeline) -> None:
        self.loaded = loaded
        self.prompts = PromptCache(loaded.pipe)
        self._loras = LoraSwitch(loaded)
        self._parts = QuantizedParts(loaded)
        self._first_calls = FirstCalls()
        self._engine = Engine(loaded.pipe.transformer, loaded.device)

    @contextmanager
    def calling(self, request: RenderRequest, wanted: EngineName) -> Iterator[EngineUse]:
        """Let the transformer be called as the request allows; what is yielded is filled in at the end."""
        use = EngineUse(why_eager(wanted, request, self.loaded.device, self.loaded.offload) or "")
        engine = None if use.reason else self._engine
        weights = (*request.weights_key, request.attention or "")
        with calling(self.loaded.pipe.transformer, weights, self._first_calls, engine):
            yield use
        if engine is not None:
            use.reason, use.note, use.seconds = engine.failed, engine.note, engine.seconds
            if use.reason:
                use.warnings = (f"rendered eagerly: {use.reason}",)
            elif use.note:
                use.warnings = (f"rendered with {use.note}",)

    @property
    def first_calls_shared(self) -> int:
        """How many first calls were shared instead of made."""
        return self._first_calls.shared

    def prepare(self, request: RenderRequest) -> None:
        """Put the request's quantization and LoRA in place; the rest stays as it is."""
        if self._parts.current != request.quantize:
            self._loras.apply(None)
            self._parts.apply(request.quantize)
        self.prompts.encoders = request.quantize
        self._loras.apply(request.lora, request.effective_lora_mode)
