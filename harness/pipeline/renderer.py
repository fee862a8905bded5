"""Render a request through the reference pipeline and say what was rendered."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from harness.errors import CheckpointError, DeviceLostError, HarnessError, RenderError
from harness.pipeline.attention import active_attention, attention_kernel
from harness.pipeline.bf16_products import has_bf16_kernels, quick_products
from harness.pipeline.checkpoint import Checkpoint, find_checkpoint
from harness.pipeline.engine.compile_workers import end_compile_workers
from harness.pipeline.engine.kernel_cache import use_cache
from harness.pipeline.engine.outlook import Outlook
from harness.pipeline.inference import infer
from harness.pipeline.load import (
    LoadedPipeline,
    load_pipeline,
    reference_dtype,
    resolved_offload,
)
from harness.pipeline.noise import torch_era
from harness.pipeline.offload import next_offload
from harness.pipeline.schedulers import scheduler_of
from harness.pipeline.sigma_schedules import sigmas_sha256
from harness.pipeline.state import PipelineState
from harness.pipeline.trajectory import RecordedTrajectory, recording, replaying, request_sigmas
from harness.schema.device import choose_device
from harness.schema.render import (
    Dtype,
    EngineName,
    Offload,
    OnStep,
    Render,
    Renderer,
    RenderRequest,
    Trajectory,
)
from harness.schema.result import NO_BF16_KERNELS, Rendered

CallHook = Callable[[LoadedPipeline], AbstractContextManager[None]]
"""Makes a context in which a pipeline's transformer calls are recorded or replaced."""


def _own_calls(_loaded: LoadedPipeline) -> AbstractContextManager[None]:
    return nullcontext()


class ReferenceRenderer(Renderer):
    """The reference pipeline as a system under test; keeps one base and one LoRA loaded.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        offload: ``auto`` is the fastest mode that fits: ``none``, ``model`` or ``sequential``.
        trust_remote_code: allow the checkpoint's own ``pipeline.py`` to run.
        engine: ``auto`` is exact on CUDA where the renders ahead pay for it, else eager; exact falls back to
            eager where it is not.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        offload: Offload = "auto",
        trust_remote_code: bool = False,
        engine: EngineName = "auto",
    ) -> None:
        self.device = choose_device(device)
        self._offload: Offload = offload
        self._trust = trust_remote_code
        self._engine: EngineName = engine
        self._resolved_offload: Offload = offload
        self._warnings: tuple[str, ...] = ()
        self._key: tuple[str, ...] | None = None
        self._state: PipelineState | None = None
        self._previous: dict[tuple[str, ...], PipelineState] = {}
        self._found: dict[tuple[str, str], Checkpoint] = {}
        self._asked_offload: Offload = offload
        self._outlook = Outlook(use_cache("cuda") if self.device == "cuda" else None)

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``.

        Raises:
            CheckpointError, LoraError: the request's weights cannot be used.
            HarnessError: the request's scheduler, attention or quantization is not available.
            RenderError: the pipeline failed while rendering; ``DeviceLostError`` where the GPU went with it.
        """
        return self._render_in_memory(request, on_step)

    def expect(self, requests: Sequence[RenderRequest]) -> None:
        """Take note of renders that are to come; see ``Renderer``."""
        self._outlook.expect(requests)

    def begin_again(self) -> None:
        """Forget what holds for one command: a base may change on disk, and memory be free again."""
        self._found.clear()
        if self._warnings:
            self._drop()
            self._offload, self._warnings = self._asked_offload, ()

    def holds(self) -> list[str]:
        """Say what is loaded, one line each."""
        states = ([self._state] if self._state is not None else []) + list(self._previous.values())
        return [
            f"{one.checkpoint.name} ({one.checkpoint.revision}) in {one.dtype} on {one.device}"
            for one in (state.loaded for state in states)
        ]

    def trajectories(self) -> ReferenceRenderer:
        """Return itself: it records and estimates."""
        return self

    def record(self, request: RenderRequest) -> tuple[Render, RecordedTrajectory]:
        """Render, and return the trajectory; see ``TrajectoryRenderer``."""
        trajectory = RecordedTrajectory()

        def hook(loaded: LoadedPipeline) -> AbstractContextManager[None]:
            return recording(loaded.pipe.transformer, request_sigmas(request, loaded.spec), trajectory)

        return self._render_in_memory(request, hook=hook), trajectory

    def estimate(self, request: RenderRequest, trajectory: Trajectory) -> tuple[Render, int]:
        """Render with ``trajectory`` in place of the transformer; see ``TrajectoryRenderer``."""
        stop = request.stop_after
        calls = range(0) if stop is None else range(stop - 1, stop)

        def hook(loaded: LoadedPipeline) -> AbstractContextManager[None]:
            sigmas = request_sigmas(request, loaded.spec)
            return replaying(loaded.pipe.transformer, sigmas, trajectory, calls)

        return self._render_in_memory(request, hook=hook), len(calls)

    def _render_in_memory(
        self, request: RenderRequest, on_step: OnStep | None = None, hook: CallHook = _own_calls
    ) -> Render:
        """Render; where the GPU's memory does not suffice, once more with the next offload mode."""
        while True:
            try:
                return self._render(request, on_step, hook)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition(". ")[0]
            self._use_less_memory(request, reason)

    def _use_less_memory(self, request: RenderRequest, reason: str) -> None:
        """Go on with the next offload mode from now on; once."""
        used = self._offload if self._warnings else self._resolved_offload
        smaller = next_offload(used)
        if self._warnings or smaller is None or request.quantize != "none":
            raise RenderError(f"the GPU's memory does not suffice with offload {used}: {reason}")
        self._drop()
        self._offload = smaller
        self._warnings = (f"out of GPU memory with offload {used}; went on with offload {smaller}",)

    def _render(self, request: RenderRequest, on_step: OnStep | None, hook: CallHook) -> Render:
        started = time.perf_counter()
        try:
            state = self._prepare(request)
            ready = time.perf_counter()
            with (
                quick_products() if self._uses_quick_products else nullcontext(),
                attention_kernel(request.attention),
                state.transformer_calls(request, self._engine) as engine,
                hook(state.loaded),
            ):
                inference = infer(state.loaded, request, on_step)
                rendered = self._rendered(request, state.loaded)
        except (HarnessError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the pipeline is foreign code and may raise anything
            raise _failed(error) from error
        done = time.perf_counter()
        quick = self._uses_quick_products and state.loaded.dtype == "bf16"
        engine_used = {
            "engine": "eager" if engine.eager_reason else "exact",
            "engine_reason": NO_BF16_KERNELS if quick else engine.eager_reason or engine.note,
        }
        return Render(
            image=inference.image,
            rendered=rendered.model_copy(update=engine_used),
            latents=inference.latents,
            latents_sha256=inference.latents_sha256,
            warnings=(*self._warnings, *state.loaded.warnings, *engine.warnings, *inference.warnings),
            seconds={
                "load": round(ready - started, 4),
                "render": round(done - ready, 4),
                "prove": round(engine.seconds, 4),
            },
        )

    @property
    def _uses_quick_products(self) -> bool:
        return self._engine == "auto" and self.device == "cpu" and not has_bf16_kernels()

    @property
    def prompts_encoded(self) -> int:
        """How many prompts the loaded pipeline has encoded; the others were shared."""
        return self._state.prompts.encoded if self._state is not None else 0

    def close(self) -> None:
        """Drop the loaded pipeline, and end the processes that compiled for it."""
        end_compile_workers()
        self._drop()

    def _drop(self) -> None:
        self._state = self._key = None
        self._previous.clear()
        if self.device == "cuda":
            gc.collect()  # the pipeline and what wraps its methods point at each other
            torch.cuda.empty_cache()

    def _prepare(self, request: RenderRequest) -> PipelineState:
        """Return the pipeline with the request's weights, LoRA and scheduler in place."""
        dtype = request.dtype or reference_dtype(self.device)
        checkpoint = self._checkpoint(request)
        loaded_as = (request.pipeline, dtype, request.encoder_dtype or "", checkpoint.revision)
        key = (request.model, str(request.base), *loaded_as)
        if self._state is None or self._key != key:
            found = self._previous.pop(key, None)
            self._set_aside()
            self._state = found or self._load(checkpoint, request, dtype)
            self._key = key
        try:
            self._state.prepare(request)
        except CheckpointError:  # the base was changed: what is loaded of it is of no use
            self._found.clear()
            self._drop()
            raise
        loaded = self._state.loaded
        loaded.pipe.scheduler = scheduler_of(request).build(loaded.spec, request.shift)
        return self._state

    def _set_aside(self) -> None:
        """Keep the loaded pipeline in main memory for a change back; on a GPU, drop it to make room."""
        state, key = self._state, self._key
        self._state = self._key = None
        if self.device == "cuda":
            self._drop()
        elif state is not None and key is not None:
            self._previous = {key: state}

    def _checkpoint(self, request: RenderRequest) -> Checkpoint:
        """Return the request's base as it was on disk when it was first asked for."""
        key = (request.model, str(request.base))
        if key not in self._found:
            self._found[key] = find_checkpoint(request.base, request.spec)
        return self._found[key]

    def _load(self, checkpoint: Checkpoint, request: RenderRequest, dtype: Dtype) -> PipelineState:
        self._resolved_offload = resolved_offload(self._offload, self.device, checkpoint, request.pixels)
        loaded = load_pipeline(
            checkpoint,
            request.spec,
            code=request.pipeline,
            dtype=dtype,
            encoder_dtype=request.encoder_dtype,
            device=self.device,
            offload=self._resolved_offload,
            trust_remote_code=self._trust,
        )
        return PipelineState(loaded, self._outlook)

    def _rendered(self, request: RenderRequest, loaded: LoadedPipeline) -> Rendered:
        width, height = request.size()
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
            sigmas_sha256=sigmas_sha256(sigmas),
            scheduler=scheduler_of(request).name,
            dtype=loaded.dtype,
            encoder_dtype=request.encoder_dtype,
            quantize=request.quantize,
            quantize_exclude=list(request.layers_left_out),
            noise=torch_era() if request.noise == "auto" else request.noise,
            generator=request.generator,
            attention=active_attention(),
            max_sequence_length=request.max_sequence_length or request.spec.max_sequence_length,
            t5_attention=request.t5_attention,
            device=loaded.device,
            offload=loaded.offload,
            pipeline=loaded.code,
            pipeline_sha256=loaded.code_sha256,
            lora_mode=mode,
            lora_sha256=lora.sha256 if lora else None,
            network_multiplier=lora.network_multiplier if lora else None,
            dialect=request.dialect.changes(),
            base=loaded.checkpoint.name,
            revision=loaded.checkpoint.revision,
        )


def _failed(error: Exception) -> RenderError:
    """Return the error of a failed render; after a CUDA error other than out of memory, the GPU is lost."""
    kind = RenderError
    lost = getattr(torch, "AcceleratorError", ())
    if (isinstance(error, lost) or "CUDA error" in str(error)) and "out of memory" not in str(error):
        kind = DeviceLostError
    return kind(f"the pipeline failed: {type(error).__name__}: {error}")
