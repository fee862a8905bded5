"""Whether a case's LoRA is of its base's shape, where the base is on this machine; no model is loaded."""

from __future__ import annotations

from harness.errors import HarnessError, LoraError
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.lora_shapes import check_lora_shapes, transformer_shapes
from harness.runs.plan import RunOptions, base_of
from harness.schema.case import Case
from harness.schema.lora_file import inspect_lora
from harness.schema.result import Finding


def base_finding(case: Case, options: RunOptions) -> Finding | None:
    """Name a LoRA with modules that the base lacks or has in another shape; nothing is downloaded."""
    if case.lora_path is None:
        return None
    try:
        lora = inspect_lora(case.lora_path)
        checkpoint = find_checkpoint(options.base or base_of(case), case.spec, download=False)
        shapes = transformer_shapes(checkpoint)
    except HarnessError:
        return None  # a static finding says what is wrong with the LoRA, and a run what is with the base
    try:
        check_lora_shapes(lora, shapes)
    except LoraError as error:
        return Finding(
            "lora-base", "error", f"{error.found} ({checkpoint.name})", "lora.file", error.fix or ""
        )
    return None
