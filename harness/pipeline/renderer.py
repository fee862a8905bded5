"""Render a request through the reference pipeline and say what was rendered."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from harness.errors import DeviceLostError, HarnessError, RenderError
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.inference import call
from harness.pipeline.load import (
    LoadedPipeline,
    choose_device,
    load_pipeline,
    reference_dtype,
    resolved_offload,
)
from harness.pipeline.noise import torch_era
from harness.pipeline.offload import next_offload
from harness.pipeline.schedulers import find_scheduler
from harness.pipeline.state import Session
from harness.pipeline.trajectory import RecordedTrajectory, recording, replaying, request_sigmas
from harness.schema.render import EngineName, Offload, OnStep, Render, Renderer, RenderRequest, Trajectory
from harness.schema.result import Rendered
from harness.schema.spec import FLEX2, ModelSpec

Around = Callable[[Any], AbstractContextManager[None]]
"""What a render does with the transformer while it is called."""


def _untouched(_transformer: Any) -> AbstractContextManager[None]:
    return nullcontext()


class ReferenceRenderer(Renderer):
    """The reference Flex.2 pipeline as a system under test; keeps one base and one LoRA loaded.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        offload: ``auto`` is the fastest mode that fits: ``none``, ``model`` or ``sequential``.
        trust_remote_code: allow the checkpoint's own ``pipeline.py`` to run.
        engine: ``auto`` is exact on CUDA and eager on the CPU; exact falls back to eager where it is not.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        offload: Offload = "auto",
        trust_remote_code: bool = False,
        engine: EngineName = "auto",
        spec: ModelSpec = FLEX2,
    ) -> None:
        self.device = choose_device(device)
        self._offload: Offload = offload
        self._trust = trust_remote_code
        self._engine: EngineName = engine
        self._used: Offload = offload
        self._warnings: tuple[str, ...] = ()
        self._spec = spec
        self._key: tuple[str, ...] | None = None
        self._session: Session | None = None
        self._spare: dict[tuple[str, ...], Session] = {}

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``.

        Raises:
            CheckpointError, LoraError: the request's weights cannot be used.
            HarnessError: the request's scheduler, attention or quantization is not available.
            RenderError: the pipeline failed while rendering; ``DeviceLostError`` where the GPU went with it.
        """
        return self._render_somehow(request, on_step, _untouched)

    def trajectories(self) -> ReferenceRenderer:
        """Return itself: it records and estimates."""
        return self

    def record(self, request: RenderRequest) -> tuple[Render, RecordedTrajectory]:
        """Render, and return the trajectory; see ``TrajectoryRenderer``."""
        trajectory, sigmas = RecordedTrajectory(), request_sigmas(request)
        made = self._render_somehow(request, None, lambda model: recording(model, sigmas, trajectory))
        return made, trajectory

    def estimate(self, request: RenderRequest, trajectory: Trajectory) -> tuple[Render, int]:
        """Render with ``trajectory`` in place of the transformer; see ``TrajectoryRenderer``."""
        sigmas, stop = request_sigmas(request), request.stop_after
        calls = range(0) if stop is None else range(stop - 1, stop)
        made = self._render_somehow(request, None, lambda model: replaying(model, sigmas, trajectory, calls))
        return made, len(calls)

    def _render_somehow(self, request: RenderRequest, on_step: OnStep | None, around: Around) -> Render:
        """Render with the context ``around`` the transformer, once more where memory does not suffice."""
        try:
            return self._render(request, on_step, around)
        except torch.OutOfMemoryError as error:
            said = str(error).partition(". ")[0]
        return self._with_less_memory(request, on_step, around, said)

    def _with_less_memory(
        self, request: RenderRequest, on_step: OnStep | None, around: Around, said: str
    ) -> Render:
        """Render with the next offload mode, and keep to it; once."""
        used = self._used
        smaller = next_offload(used)
        if self._warnings or smaller is None or request.quantize != "none":
            raise RenderError(f"the GPU's memory does not suffice with offload {used}: {said}")
        self.close()
        self._offload = smaller
        self._warnings = (f"out of GPU memory with offload {used}; went on with offload {smaller}",)
        try:
            return self._render(request, on_step, around)
        except torch.OutOfMemoryError as error:
            raise RenderError(f"the GPU's memory does not suffice with offload {smaller}: {error}") from None

    def _render(self, request: RenderRequest, on_step: OnStep | None, around: Around) -> Render:
        started = time.perf_counter()
        width, height = request.size(self._spec)
        try:
            loaded = self._prepare(request)
            assert self._session is not None
            ready = time.perf_counter()
            with _attention(request.attention), self._session.calling(request, self._engine) as use:
                with around(loaded.pipe.transformer):
                    called = call(loaded, request, width, height, on_step)
                rendered = self._rendered(request, loaded, width, height)
        except (HarnessError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the pipeline is foreign code and may raise anything
            raise _failed(error) from error
        done = time.perf_counter()
        engine = {"engine": "eager" if use.reason else "exact", "engine_reason": use.reason or use.note}
        return Render(
            image=called.image,
            rendered=rendered.model_copy(update=engine),
            latents_sha256=called.latents_sha256,
            warnings=(*self._warnings, *use.warnings),
            seconds={
                "load": round(ready - started, 4),
                "render": round(done - ready, 4),
                "prove": round(use.seconds, 4),
            },
        )

    @property
    def prompts_encoded(self) -> int:
        """How many prompts the loaded pipeline has encoded; the others were shared."""
        return self._session.prompts.encoded if self._session is not None else 0

    def close(self) -> None:
        """Drop the loaded pipeline."""
        self._session = self._key = None
        self._spare.clear()
        if self.device == "cuda":
            gc.collect()  # the pipeline and what wraps its methods point at each other
            torch.cuda.empty_cache()

    def _put_aside(self) -> None:
        """Keep the session in main memory for when its weights come again; on a GPU, make room instead."""
        session, key = self._session, self._key
        self._session = self._key = None
        if self.device == "cuda":
            self.close()
        elif session is not None and key is not None:
            self._spare = {key: session}

    def _prepare(self, request: RenderRequest) -> LoadedPipeline:
        """Return the pipeline with the request's weights, LoRA and scheduler in place."""
        dtype = request.dtype or reference_dtype(self.device)
        key = (str(request.base), request.pipeline, dtype)
        if self._session is None or self._key != key:
            self._put_aside()
            checkpoint = find_checkpoint(request.base, self._spec)
            self._used = resolved_offload(self._offload, self.device, checkpoint)
            self._session = self._spare.pop(key, None) or Session(
                load_pipeline(
                    checkpoint,
                    self._spec,
                    code=request.pipeline,
                    dtype=dtype,
                    device=self.device,
                    offload=self._used,
                    trust_remote_code=self._trust,
                )
            )
            self._key = key
        self._session.prepare(request)
        loaded = self._session.loaded
        loaded.pipe.scheduler = find_scheduler(request.scheduler).build(request.shift, self._spec)
        return loaded

    def _rendered(self, request: RenderRequest, loaded: LoadedPipeline, width: int, height: int) -> Rendered:
        sigmas = np.asarray(loaded.pipe.scheduler.sigmas.float().cpu())
        mode = request.effective_lora_mode
        lora = request.lora if mode != "none" else None
        return Rendered(
            width=width,
            height=height,
            steps=request.sample_steps,
            seed=request.seed,
            batch=request.batch,
            guidance_scale=request.guidance_scale,
            sigmas=[round(float(sigma), 6) for sigma in sigmas],
            sigmas_sha256=hashlib.sha256(sigmas.tobytes()).hexdigest(),
            scheduler=find_scheduler(request.scheduler).name,
            dtype=loaded.dtype,
            quantize=request.quantize,
            noise=torch_era() if request.noise == "auto" else request.noise,
            generator=request.generator,
            attention=_attention_backend(),
            max_sequence_length=request.max_sequence_length or self._spec.max_sequence_length,
            device=loaded.device,
            offload=loaded.offload,
            pipeline=loaded.code,
            pipeline_sha256=loaded.code_sha256,
            lora_mode=mode,
            lora_sha256=lora.sha256 if lora else None,
            network_multiplier=lora.network_multiplier if lora else None,
            base=loaded.checkpoint.name,
            revision=loaded.checkpoint.revision,
        )


def _failed(error: Exception) -> RenderError:
    """Return what is said of a failed render; a CUDA error other than want of memory takes the GPU along."""
    kind = RenderError
    lost = getattr(torch, "AcceleratorError", ())
    if (isinstance(error, lost) or "CUDA error" in str(error)) and "out of memory" not in str(error):
        kind = DeviceLostError
    return kind(f"the pipeline failed: {type(error).__name__}: {error}")


def _attention(name: str | None) -> Any:
    """Return a context in which diffusers computes attention with the backend ``name``."""
    if name is None:
        return nullcontext()
    from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend

    known = [backend.value for backend in AttentionBackendName]
    if name not in known:
        raise HarnessError(f"unknown backend {name!r}", field="attention", fix=f"choose {', '.join(known)}")
    return attention_backend(name)


def _attention_backend() -> str:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return str(_AttentionBackendRegistry.get_active_backend()[0].value)
