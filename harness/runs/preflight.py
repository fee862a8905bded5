"""Check every file that a run will need, before a model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from harness._util.atomic_files import sha256_file
from harness.errors import CaseError, HarnessError
from harness.judging.baseline_store import BaselineStore
from harness.metrics.images import load_rgb
from harness.pipeline.checkpoint import Checkpoint, find_checkpoint
from harness.pipeline.load import check_trust, free_memory
from harness.pipeline.lora_shapes import check_lora_shapes, transformer_shapes
from harness.pipeline.models import read_headers
from harness.pipeline.offload import memory_line, needs
from harness.runs.plan import RunOptions
from harness.runs.planned import Planned
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.lora_file import inspect_lora
from harness.schema.render import RenderRequest
from harness.schema.spec import spec_of

Item = TypeVar("Item")
STORED_AS = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
"""The name that safetensors gives a dtype."""


class Preflight:
    """Checks what is planned; reads each base and LoRA once, whatever is checked after that."""

    def __init__(self) -> None:
        self._inspected = cache(inspect_lora)
        self._sha256_of = cache(self._sha256)
        self._shapes = cache(transformer_shapes)
        self._found = cache(lambda base, model: find_checkpoint(base, spec_of(model)))

    def known_bases(self, planned: Iterable[Planned]) -> dict[str, Checkpoint]:
        """Return the checkpoint of every base that can be found, by the base's name."""
        found = {}
        for base, model in _bases(item.request for item in planned if item.request is not None):
            with suppress(HarnessError):
                found[str(base)] = self._found(base, model)
        return found

    def check(self, planned: list[Planned], options: RunOptions) -> dict[str, Checkpoint]:
        """Check previews, LoRAs, baselines, bases and trust.

        Returns:
            The checkpoint of every base, by the base's name.

        Raises:
            HarnessError: the first file that is missing, changed, unsafe or unusable.
        """
        for case in {id(item.case): item.case for item in planned}.values():  # of many variants, perhaps
            case.verify(self._sha256_of)
            _check_preview(case)
            if options.baselines is not None:
                BaselineStore(options.baselines).entries(case.id)
        requests = [item.request for item in planned if item.request is not None]
        if not options.renders_here:
            for request in requests:
                if request.lora is not None:
                    self._inspected(request.lora.file)
            return {}
        bases = {str(base): self._found(base, model) for base, model in _bases(requests)}
        for name, code in _unique((str(request.base), request.pipeline) for request in requests):
            check_trust(bases[name], code, options.trust_remote_code)
        shapes = {name: self._shapes(checkpoint) for name, checkpoint in bases.items()}
        for name, file in _unique((str(r.base), r.lora.file) for r in requests if r.lora is not None):
            check_lora_shapes(self._inspected(file), shapes[name])
        return bases

    def _sha256(self, path: Path) -> str:
        """Return a file's hash; a LoRA's from the one pass that looks for NaN as well."""
        if path.suffix == ".safetensors":
            with suppress(HarnessError):
                return self._inspected(path).sha256
        return sha256_file(path)


def memory_lines(
    bases: Mapping[str, Checkpoint],
    planned: Sequence[Planned],
    options: RunOptions,
    device: str,
    free: int | None = None,
) -> list[str]:
    """Say what each base needs of the GPU's memory and how it will run; nothing on the CPU.

    Args:
        planned: what is rendered: its sizes and LoRAs count.
        free: bytes that are free on another machine's GPU; None asks this one's.
    """
    if device != "cuda":
        return []
    free = free_memory() if free is None else free
    lines = []
    for name, base in bases.items():
        requests = [
            one.request for one in planned if one.request is not None and str(one.request.base) == name
        ]
        needed = needs(base, max((request.pixels for request in requests), default=0))
        saved, reread = _changed_bytes(requests), _can_be_read_again(base, requests)
        lines.append(memory_line(base.name, needed, free, options.offload, saved, reread=reread))
    return lines


def _merged(requests: Iterable[RenderRequest]) -> list[RenderRequest]:
    return [one for one in requests if one.effective_lora_mode not in {"none", "adapter", "peft"}]


def _changed_bytes(requests: Iterable[RenderRequest]) -> int:
    """Return the bytes of the weights that the requests' LoRAs are merged into."""
    merged = _merged(requests)
    layers = {
        module: rows * columns * (4 if dtype == "fp32" else 2)
        for lora, dtype in _unique((one.lora, one.dtype) for one in merged if one.lora is not None)
        for module, (_, columns, rows) in inspect_lora(lora.file, lora.sha256).modules.items()
    }
    return sum(layers.values())


def _can_be_read_again(base: Checkpoint, requests: Iterable[RenderRequest]) -> bool:
    """Whether the base's files hold the weights that LoRAs change as they are rendered."""
    merged = _merged(requests)
    quantized = any(one.transformer_quantizer for one in merged)
    if sys.platform != "linux" or quantized or not merged:  # see pipeline/mapped_files.py
        return False
    rendered = {STORED_AS[one.dtype or "bf16"] for one in merged}
    return rendered == {header.dtype for header in read_headers(base.folder / "transformer").values()}


def _bases(requests: Iterable[RenderRequest]) -> list[tuple[Base, str]]:
    """Return every base once, with the model that it must have the shape of."""
    return _unique((request.base, request.model) for request in requests)


def _unique(items: Iterable[Item]) -> list[Item]:
    return list(dict.fromkeys(items))


def _check_preview(case: Case) -> None:
    height, width, _ = load_rgb(case.preview_path).shape
    recorded = case.preview
    if recorded.size != (width, height):
        raise CaseError(
            f"says {recorded.width}×{recorded.height}, the image is {width}×{height}",
            file=case.folder,
            field=f"{case.id}: preview.width",
            fix="import again",
        )
