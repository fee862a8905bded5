"""Save a diagnosis as JSON, with the pictures of each step of its path beside it for the report."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness._util.atomic_files import write_json
from harness.diagnosis.answer import Diagnosis
from harness.metrics.images import save_png


def pictures_folder(file: Path) -> Path:
    """Return the folder of the pictures that belong to ``file``."""
    return file.with_suffix("") if file.suffix else file.with_name(f"{file.name}_pictures")


def save_answer(found: Diagnosis, file: Path) -> None:
    """Write ``file``, and PNG pictures into the folder beside it that is named after it.

    Raises:
        OSError: a file cannot be written.
    """
    body = found.to_json()
    folder = pictures_folder(file)
    pictures = [folder / f"{number}.png" for number in range(len(found.path))]
    with ThreadPoolExecutor() as threads:
        list(threads.map(save_png, pictures, [step.image for step in found.path]))
    for picture, entry in zip(pictures, body["path"], strict=True):
        entry["picture"] = f"{folder.name}/{picture.name}"
    write_json(file, body)
