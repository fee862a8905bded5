"""Render a request through the reference pipeline and say what was rendered."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import torch

from harness.errors import RenderError
from harness.reference.checkpoint import find_checkpoint
from harness.reference.load import LoadedPipeline, choose_device, load_pipeline, reference_dtype
from harness.reference.lora import LoraSwitch
from harness.reference.noise import torch_era
from harness.reference.spec import FLEX2, ModelSpec
from harness.renderer import Offload, OnStep, Render, RenderRequest
from harness.runs.row import Rendered


class ReferenceRenderer:
    """The reference Flex.2 pipeline as a system under test; keeps one base and one LoRA loaded.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        offload: ``auto`` keeps everything on the GPU where it fits, else offloads by model.
        trust_remote_code: allow the checkpoint's own ``pipeline.py`` to run.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        offload: Offload = "auto",
        trust_remote_code: bool = False,
        spec: ModelSpec = FLEX2,
    ) -> None:
        self.device = choose_device(device)
        self._offload: Offload = offload
        self._trust = trust_remote_code
        self._spec = spec
        self._key: tuple[str, ...] | None = None
        self._loaded: LoadedPipeline | None = None
        self._loras: LoraSwitch | None = None

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``.

        Raises:
            CheckpointError, LoraError: the request's weights cannot be used.
            RenderError: the pipeline failed while rendering.
        """
        started = time.perf_counter()
        loaded, loras = self._load(request)
        loras.apply(request.lora)
        ready = time.perf_counter()
        width, height = self._spec.snap(request.width, request.height)
        try:
            image = _call(loaded.pipe, request, width, height, on_step)
        except Exception as error:  # the pipeline is foreign code and may raise anything
            raise RenderError(f"the pipeline failed: {type(error).__name__}: {error}") from error
        done = time.perf_counter()
        return Render(
            image=image,
            rendered=self._rendered(request, loaded, width, height),
            seconds={"load": round(ready - started, 4), "render": round(done - ready, 4)},
        )

    def close(self) -> None:
        """Drop the loaded pipeline."""
        self._loaded = self._loras = self._key = None
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _load(self, request: RenderRequest) -> tuple[LoadedPipeline, LoraSwitch]:
        dtype = request.dtype or reference_dtype(self.device)
        key = (str(request.base), request.pipeline, dtype)
        if self._loaded is None or self._loras is None or self._key != key:
            self.close()
            self._loaded = load_pipeline(
                find_checkpoint(request.base, self._spec),
                self._spec,
                code=request.pipeline,
                dtype=dtype,
                device=self.device,
                offload=self._offload,
                trust_remote_code=self._trust,
            )
            self._loras = LoraSwitch(self._loaded)
            self._key = key
        return self._loaded, self._loras

    def _rendered(self, request: RenderRequest, loaded: LoadedPipeline, width: int, height: int) -> Rendered:
        sigmas = np.asarray(loaded.pipe.scheduler.sigmas.float().cpu())
        return Rendered(
            width=width,
            height=height,
            steps=request.sample_steps,
            seed=request.seed,
            guidance_scale=request.guidance_scale,
            sigmas=[round(float(sigma), 6) for sigma in sigmas],
            sigmas_sha256=hashlib.sha256(sigmas.tobytes()).hexdigest(),
            dtype=loaded.dtype,
            noise=torch_era(),
            attention=_attention_backend(),
            device=loaded.device,
            offload=loaded.offload,
            pipeline=loaded.code,
            pipeline_sha256=loaded.code_sha256,
            lora_mode="fused" if request.lora else "none",
            lora_sha256=request.lora.sha256 if request.lora else None,
            network_multiplier=request.lora.network_multiplier if request.lora else None,
            base=loaded.checkpoint.name,
            revision=loaded.checkpoint.revision,
        )


def _call(
    pipe: Any, request: RenderRequest, width: int, height: int, on_step: OnStep | None
) -> np.ndarray[Any, Any]:
    def step_done(_pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(index + 1, request.sample_steps)
        return tensors

    with torch.inference_mode():
        output = pipe(
            prompt=request.prompt,
            negative_prompt=request.neg,
            width=width,
            height=height,
            num_inference_steps=request.sample_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            callback_on_step_end=step_done,
        )
    return np.asarray(output.images[0].convert("RGB"))


def _attention_backend() -> str:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return str(_AttentionBackendRegistry.get_active_backend()[0].value)
