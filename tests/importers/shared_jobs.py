"""Job folders as they are shared: small data in ``tests/data/shared_jobs``, with LoRAs of the shipped job."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import harness.data
from tests.importers.lora_files import rewrite, software

DATA = Path(__file__).parents[1] / "data" / "shared_jobs"
SHIPPED = Path(harness.data.__file__).parent / "jobs" / "emoji_inkprint"
LORA = SHIPPED / "emoji_inkprint_000000100.safetensors"


def shared_job(name: str, folder: Path, version: str = "0.12.26") -> Path:
    """Return a copy of the job ``name`` with the shipped LoRA of step 100, marked as of another version."""
    job = Path(shutil.copytree(DATA / name, folder / name))
    rewrite(LORA, job / LORA.name, metadata=software(version))
    return job


def nan_lora(path: Path) -> Path:
    """Write a LoRA of step 100 with weights that are not numbers."""
    key = "transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight"
    return rewrite(LORA, path, extra={key: np.full((8, 160), np.nan, np.float16)})


def shipped_job(folder: Path, *, metadata: Mapping[str, str] | None = None, **extra: np.ndarray) -> Path:
    """Return a copy of the shipped job whose final LoRA has other metadata or more tensors."""
    job = Path(shutil.copytree(SHIPPED, folder / "emoji_inkprint"))
    final = job / "emoji_inkprint.safetensors"
    rewrite(
        SHIPPED / final.name,
        final,
        metadata=metadata,
        extra={f"transformer.{k}": v for k, v in extra.items()},
    )
    return job
