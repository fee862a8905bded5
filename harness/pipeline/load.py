"""Load the reference pipeline: base, pipeline code, dtype, device and offload."""

from __future__ import annotations

import atexit
import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._util.atomic_files import sha256_file
from harness._util.garbage_collector import pause_collection
from harness._util.lean_imports import lean_imports
from harness.errors import CheckpointError, HarnessError
from harness.pipeline.checkpoint import Checkpoint, pipeline_sha256, read_json
from harness.pipeline.models import check_finite, load_models
from harness.pipeline.offload import choose_offload, needs, offload_encoders
from harness.pipeline.tokenizers import load_tokenizers
from harness.schema.case import EncoderDtype
from harness.schema.render import Dtype, Offload, PipelineCode
from harness.schema.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

    from harness.pipeline.stored_weights import Stored


@dataclass(frozen=True)
class LoadedPipeline:
    """A diffusers pipeline, ready to call, with what was really loaded.

    Attributes:
        spec: the model's, with the scheduler of the checkpoint where the reference keeps it.
        stored: the transformer's weights that can be read again from its files, by name.
    """

    pipe: DiffusionPipeline
    spec: ModelSpec
    checkpoint: Checkpoint
    code: PipelineCode
    code_sha256: str
    dtype: Dtype
    device: str
    offload: Offload
    warnings: tuple[str, ...] = ()
    stored: Mapping[str, Stored] = field(default_factory=dict)

    def place(self) -> None:
        """Put the pipeline's weights where the offload mode wants them; they are on the CPU before."""
        if self.offload == "model":
            offload_encoders(self.pipe, self.device, self.spec.text_encoders)
        elif self.offload == "sequential":
            self.pipe.enable_sequential_cpu_offload()
        elif self.device != "cpu":
            from harness.pipeline.placing import place

            place([getattr(self.pipe, name) for name in self.spec.models], self.device)
            self.pipe.to(self.device)

    def check_finite(self) -> None:
        """Refuse weights that are not finite; see ``models.check_finite``."""
        check_finite(self.checkpoint, {name: getattr(self.pipe, name) for name in self.spec.models})


def reference_dtype(device: str) -> Dtype:
    """Return the dtype that the reference uses: bf16 on CUDA where supported, else fp16; fp32 on the CPU."""
    import torch

    if device == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def load_pipeline(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    *,
    code: PipelineCode,
    dtype: Dtype,
    device: str,
    offload: Offload,
    trust_remote_code: bool,
    encoder_dtype: EncoderDtype | None = None,
) -> LoadedPipeline:
    """Load ``checkpoint`` as the reference does and place it on ``device``; its own scheduler stays.

    Raises:
        CheckpointError: hub code without trust, without a ``pipeline.py``, or that gives another class; a
            model or tokenizer that is not complete.
    """
    check_trust(checkpoint, code, trust_remote_code)
    _use_private_modules_cache()
    with pause_collection(), lean_imports(), quiet():
        parts = {
            **load_models(checkpoint, spec, torch_dtype(dtype)),
            **load_tokenizers(checkpoint, spec),
        }
        pipe = _load(checkpoint, spec, code, dtype, parts)
    if encoder_dtype is not None:
        pipe.text_encoder_2.to(torch_dtype(encoder_dtype))
    pipe.set_progress_bar_config(disable=True)
    effective = with_own_scheduler(spec, checkpoint)
    resolved = resolved_offload(offload, device, checkpoint)
    loaded = LoadedPipeline(
        pipe=pipe,
        spec=effective,
        checkpoint=checkpoint,
        code=code,
        code_sha256=sha256_file(_source(pipe)),
        dtype=dtype,
        device=device,
        offload=resolved,
        warnings=_other_scheduler(spec, effective),
        stored=_stored(pipe, checkpoint) if device != "cpu" or resolved != "none" else {},
    )
    with pause_collection(), quiet():
        if device == "cpu":
            from harness.pipeline.ordered_convolution import use_ordered_convolutions

            use_ordered_convolutions(pipe.vae)
        loaded.place()
    return loaded


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' own progress bars and advice while weights load; errors still show."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()


def with_own_scheduler(spec: ModelSpec, checkpoint: Checkpoint) -> ModelSpec:
    """Return ``spec`` with the checkpoint's own scheduler, where the reference keeps that.

    Raises:
        CheckpointError: its config is no JSON object.
    """
    if not spec.keeps_scheduler:
        return spec
    own = read_json(checkpoint.folder / "scheduler" / "scheduler_config.json")
    return replace(spec, scheduler={name: own.get(name, value) for name, value in spec.scheduler.items()})


def _other_scheduler(known: ModelSpec, used: ModelSpec) -> tuple[str, ...]:
    """Say where a checkpoint's own scheduler is not the one that its model is known to have."""
    odd = [
        f"{name} {used.scheduler[name]} ({known.label} has {value})"
        for name, value in known.scheduler.items()
        if used.scheduler[name] != value
    ]
    return (f"the base's own scheduler has {', '.join(odd)}",) if odd else ()


def _load(
    checkpoint: Checkpoint, spec: ModelSpec, code: PipelineCode, dtype: Dtype, parts: Mapping[str, object]
) -> DiffusionPipeline:
    options = {**parts, "dtype": torch_dtype(dtype), "local_files_only": True, "use_safetensors": True}
    try:
        if code == "hub":
            return _load_hub(checkpoint, options)
        module, _, name = spec.pipeline.partition(":")
        return getattr(import_module(module), name).from_pretrained(checkpoint.folder, **options)
    except HarnessError:
        raise
    except Exception as error:  # foreign code reads foreign files here and may raise anything
        raise CheckpointError(
            f"cannot be loaded ({type(error).__name__}: {error})",
            file=checkpoint.folder,
            fix="download the base again",
        ) from error


def check_trust(checkpoint: Checkpoint, code: PipelineCode, trust_remote_code: bool) -> None:
    """Refuse hub code that is absent, that the user has not trusted, or that may change after it was read.

    Raises:
        CheckpointError: says how to read the code and how to trust it.
    """
    if code == "builtin":
        return
    expected = pipeline_sha256(checkpoint)
    if expected is None:
        raise CheckpointError(
            "holds no pipeline.py, which --pipeline hub runs",
            file=checkpoint.folder,
            fix="use --pipeline builtin",
        )
    if trust_remote_code and checkpoint.pinned:
        return
    pin = "" if checkpoint.pinned else f" --base {checkpoint.name}@{checkpoint.revision}"
    missing = "your trust" if checkpoint.pinned else "your trust in one commit"
    raise CheckpointError(
        f"is its author's code (sha256 {expected[:12]}…) and does not run without {missing}",
        file=checkpoint.pipeline_file,
        fix=f"read it, then give --trust-remote-code{pin}; or use --pipeline builtin",
    )


def _load_hub(checkpoint: Checkpoint, options: Mapping[str, Any]) -> DiffusionPipeline:
    from diffusers import AutoPipelineForText2Image, DiffusionPipeline

    _forget_remote_code()
    options = {**options, "custom_pipeline": str(checkpoint.folder), "trust_remote_code": True}
    try:
        pipe = AutoPipelineForText2Image.from_pretrained(checkpoint.folder, **options)
    except ValueError:  # a _class_name that AutoPipeline does not know; DiffusionPipeline takes any
        pipe = DiffusionPipeline.from_pretrained(checkpoint.folder, **options)
    if sha256_file(_source(pipe)) != pipeline_sha256(checkpoint):
        raise CheckpointError(
            f"was not what diffusers loaded: it gave {type(pipe).__module__}.{type(pipe).__name__}",
            file=checkpoint.pipeline_file,
        )
    return pipe


def _forget_remote_code() -> None:
    """Let a ``pipeline.py`` be imported anew: that of an earlier load may have been another text."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "diffusers_modules"]:
        del sys.modules[name]
    invalidate_caches()


def _use_private_modules_cache() -> None:
    """Keep remote code out of the cache that all processes share: they overwrite each other's copy there."""
    if "HF_MODULES_CACHE" not in os.environ:
        folder = tempfile.mkdtemp(prefix="harness-modules-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["HF_MODULES_CACHE"] = folder


def _stored(pipe: DiffusionPipeline, checkpoint: Checkpoint) -> Mapping[str, Stored]:
    from harness.pipeline.stored_weights import stored_in

    return stored_in(checkpoint.folder / "transformer", pipe.transformer)


def _source(pipe: DiffusionPipeline) -> Path:
    return Path(inspect.getfile(type(pipe)))


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """Return torch's own name of a dtype."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]


def resolved_offload(wanted: Offload, device: str, checkpoint: Checkpoint, pixels: int = 1 << 20) -> Offload:
    """Return the offload mode: as wanted, by free memory for ``auto``, and ``none`` on the CPU."""
    return "none" if device == "cpu" else choose_offload(wanted, needs(checkpoint, pixels), free_memory())


def free_memory() -> int:
    """Return the GPU's bytes that are unused, and that prefetched weights take."""
    from harness.pipeline.prefetch import held

    return held() + unused_memory()


def unused_memory() -> int:
    """Return the free bytes of the GPU, with those that torch holds and does not use, within its limit.

    The limit is that of ``torch.cuda.set_per_process_memory_fraction``.
    """
    import torch

    free, total = torch.cuda.mem_get_info()
    limit = total * torch.cuda.get_per_process_memory_fraction()
    return int(min(free + torch.cuda.memory_reserved(), limit)) - torch.cuda.memory_allocated()
