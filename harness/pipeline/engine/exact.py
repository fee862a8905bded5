"""Chooses between eager and fast for every call of the transformer, and proves fast before it is used."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from harness.pipeline.engine.compiled import FastTransformer, Inputs
from harness.schema.render import EngineName, RenderRequest

PLAIN = (type(None), bool, int, float, str)
MAX_ERROR_LENGTH = 160


def why_eager(wanted: EngineName, request: RenderRequest, device: str, offload: str) -> str | None:
    """Say why a request is rendered eagerly, or None where the exact engine may try."""
    reasons = (
        (wanted == "eager", "asked for"),
        (wanted == "auto" and device == "cpu", "the exact engine is for CUDA"),
        (offload == "sequential", "weights are offloaded (sequential)"),
        (request.transformer_quantizer is not None, "the transformer is quantized"),
        (request.effective_lora_mode in {"adapter", "peft"}, "the LoRA is a live adapter"),
        (request.dialect.timestep == "fp32", "the timestep is not rounded"),
        (request.dialect.kernels != "diffusers", f"the kernels are those of {request.dialect.kernels}"),
        (request.attention is not None, f"attention {request.attention} was asked for"),
    )
    return next((reason for holds, reason in reasons if holds), None)


class Engine:
    """Calls one transformer with eager's bits, fast where that is proved.

    The first call of every shape, dtype and weights runs both ways and compares every bit. On a difference,
    or where fast fails, CUDA goes on with graphs of eager's own kernels, proved alike; where these fail too,
    and on the CPU, everything is eager from then on. No result is lost.

    Attributes:
        failed: why everything is eager by now; empty as long as fast holds.
        note: why blocks are not compiled by now, where graphs alone still hold.
        seconds: spent on compiling, capturing and proving, since ``begin``.
    """

    def __init__(self, transformer: Any, device: str) -> None:
        self._transformer = transformer
        self._device = device
        self._eager: Callable[..., Any] = transformer.forward
        self._fast: FastTransformer | None = None
        self._proved: set[Any] = set()
        self._weights: Any = None
        self.failed = ""
        self.note = ""
        self._compiled_failed = ""
        self.seconds = 0.0

    def begin(self, weights: tuple[str, ...]) -> None:
        """Take note of the weights that the transformer holds now."""
        places = hash(tuple(weight.data_ptr() for weight in self._transformer.parameters()))
        self._weights = (weights, places)
        self.seconds = 0.0

    def __call__(self, **inputs: Any) -> tuple[torch.Tensor, ...]:
        """Return what the transformer's own forward returns for ``inputs``."""
        shape = signature(inputs)
        if self.failed or shape is None:
            return self._own(inputs)
        if (shape, self._weights) not in self._proved:
            return self._prove(shape, inputs)
        try:
            return (self._run_fast(shape, inputs),)
        except Exception as error:  # a compiler or a driver may raise anything; eager still works
            self._give_up(f"failed ({_first_line(error)})")
            return self._own(inputs)

    def _own(self, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        own: tuple[torch.Tensor, ...] = self._eager(**inputs)
        return own

    def _prove(self, shape: Any, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        own = self._own(inputs)
        started = time.perf_counter()
        # torch's compiler advises TF32 for fp32, which has other bits; no reader of the terminal asked
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)
        while not self.failed and (shape, self._weights) not in self._proved:
            try:
                fast = self._run_fast(shape, inputs)
                if torch.equal(own[0], fast):
                    self._proved.add((shape, self._weights))
                else:
                    self._give_up(f"gave other bits than eager ({_difference(own[0], fast)})")
            except Exception as error:  # as above
                self._give_up(f"failed ({_first_line(error)})")
        self.seconds += time.perf_counter() - started
        return own

    def _run_fast(self, shape: Any, inputs: Inputs) -> torch.Tensor:
        if self._fast is None:
            self._fast = FastTransformer(self._transformer, self._eager, self._device, compiled=not self.note)
        _, places = self._weights
        return self._fast((shape, places), inputs)

    def _give_up(self, why: str) -> None:
        """Go on with the next way of calling fast, else eagerly; what was proved of this one is void."""
        if self.note:
            self.failed = f"{self._compiled_failed}; CUDA graphs alone {why}"
        else:
            self._compiled_failed = f"the exact engine {why}"
            if self._device == "cuda":
                self.note = f"CUDA graphs alone: {self._compiled_failed}"
            else:
                self.failed = self._compiled_failed
        self._fast = None
        self._proved.clear()


def signature(inputs: Inputs) -> Any:
    """Return shapes, dtypes and plain values of a call's arguments; None where others are among them."""
    found: list[tuple[Any, ...]] = []
    for name, value in sorted(inputs.items()):
        if isinstance(value, torch.Tensor):
            found.append((name, tuple(value.shape), value.dtype, value.device))
        elif isinstance(value, PLAIN) or value == {}:
            found.append((name, repr(value)))
        else:
            return None
    return tuple(found)


def _difference(a: torch.Tensor, b: torch.Tensor) -> str:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{b.dtype} {tuple(b.shape)} for {a.dtype} {tuple(a.shape)}"
    return f"{(a != b).float().mean():.2%} of values, by up to {(a.float() - b.float()).abs().max():.2g}"


def _first_line(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:MAX_ERROR_LENGTH]
