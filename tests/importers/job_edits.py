"""Changing a copy of a genuine job, and finding the cases that come of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.importers.draft import ImportResult
from harness.schema.case import Case

Edit = Callable[[Callable[[dict[str, Any]], object]], None]


def add_preview(job: Path, name: str, size: tuple[int, int] = (128, 128), **options: Any) -> Path:
    path = job / "samples" / name
    Image.new("RGB", size, (9, 99, 199)).save(path, **options)
    return path


def drop_step(job: Path, step: int) -> None:
    for path in (job / "samples").glob(f"*__{step:09d}_*"):
        path.unlink()


def by_stem(result: ImportResult) -> dict[str, Case]:
    return {case.id.split("/")[1]: case for case in result.cases}


def tree(folder: Path) -> dict[str, str]:
    """Return the hash of every file below ``folder``, hidden ones too."""
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def change_metadata(lora: Path) -> None:
    """Make another LoRA of the same step."""
    data = lora.read_bytes()
    assert b"0.12.26" in data
    lora.write_bytes(data.replace(b"0.12.26", b"0.12.27"))
