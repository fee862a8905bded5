"""What AI Toolkit writes: job folders with their prompts, seeds, previews, checkpoints and LoRA files."""

from harness.importers.aitoolkit.job import import_job

__all__ = ["import_job"]
