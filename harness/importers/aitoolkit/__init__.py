"""What AI Toolkit writes: job folders with their prompts, seeds, previews, checkpoints and LoRA files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.importers.aitoolkit.job import import_job

__all__ = ["import_job"]


def __getattr__(name: str) -> Any:
    if name != "import_job":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.importers.aitoolkit.job import import_job

    return import_job
