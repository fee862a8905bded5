"""The names that trainer, scripts and tools have for the dtypes that a render knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.schema.render import Dtype

_NAMES: Mapping[str, Dtype] = MappingProxyType({
    "bf16": "bf16", "bfloat16": "bf16",
    "fp16": "fp16", "float16": "fp16",
    "fp32": "fp32", "float32": "fp32", "float": "fp32",
})  # fmt: skip


def dtype_of(name: str | None) -> Dtype | None:
    """Return the dtype of that name, e.g. ``torch.bfloat16``; None where it is another, or none is given."""
    return _NAMES.get((name or "").lower().removeprefix("torch."))
