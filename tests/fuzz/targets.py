"""Every parser of foreign bytes, with genuine files to start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fuzz import binary_targets, text_targets
from tests.fuzz.target import Target

TARGETS: dict[str, Callable[[Path], Target]] = {
    "case file": text_targets.case_target,
    "config.yaml": text_targets.config_target,
    "prompt flags": text_targets.prompt_target,
    "grid file": text_targets.grid_target,
    "request JSON": text_targets.request_target,
    "LoRA": binary_targets.lora_target,
    "image": binary_targets.image_target,
    "image metadata": text_targets.metadata_target,
    "bundle": binary_targets.bundle_target,
    "case in a bundle": binary_targets.bundle_case_target,
    "rows and report": binary_targets.rows_target,
    "run.json": text_targets.manifest_target,
    "baseline": text_targets.baseline_target,
    "tolerance file": text_targets.tolerance_target,
    "review": text_targets.review_target,
    "diagnosis": text_targets.diagnosis_target,
    "base": binary_targets.base_target,
}
"""Every parser, by the name of what it reads; each is given an empty folder to work in."""
