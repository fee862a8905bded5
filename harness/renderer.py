"""The seam between planning and a system under test.

A renderer turns a fully resolved request into an image and says what it really rendered. The reference
pipeline is one; another model, an HTTP server or another tool is another class with the same two methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from harness.case import Base

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.runs.row import Rendered

PipelineCode = Literal["hub", "builtin"]
Offload = Literal["auto", "none", "model", "sequential"]
Dtype = Literal["bf16", "fp16", "fp32"]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Lora:
    """LoRA weights and the scale they are applied at."""

    file: Path
    sha256: str
    network_multiplier: float


@dataclass(frozen=True)
class RenderRequest:
    """Everything that decides a re-run's pixels, apart from the machine.

    Attributes:
        base: the checkpoint; a relative ``path`` has been made absolute.
        dtype: floating-point type of weights and latents, or None for the device's own rule.
        width: pixels as asked for; the renderer snaps it.
        height: pixels as asked for; the renderer snaps it.
    """

    base: Base
    pipeline: PipelineCode
    dtype: Dtype | None
    lora: Lora | None
    prompt: str
    neg: str
    width: int
    height: int
    seed: int
    sample_steps: int
    guidance_scale: float

    @property
    def weights_key(self) -> tuple[str, ...]:
        """Requests with the same key share loaded and fused weights; sorting by it changes weights rarely."""
        lora = (self.lora.sha256, repr(self.lora.network_multiplier)) if self.lora else ("", "")
        return (str(self.base), self.pipeline, self.dtype or "", *lora)


@dataclass(frozen=True)
class Render:
    """A finished render: the image (uint8, H×W×3), what was rendered, and where the time went in seconds."""

    image: NDArray[np.uint8]
    rendered: Rendered
    seconds: dict[str, float]


class Renderer(Protocol):
    """A system under test."""

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; ``on_step(done, total)`` is called after every denoising step."""
        ...

    def close(self) -> None:
        """Free the memory that the renderer holds."""
        ...
