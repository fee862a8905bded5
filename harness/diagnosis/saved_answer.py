"""Save a diagnosis as JSON, with the pictures of each step of its path beside it for the report."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from harness._util.atomic_files import write_json
from harness.diagnosis.answer import Diagnosis


def save_answer(found: Diagnosis, file: Path) -> None:
    """Write ``file``, and PNG pictures into the folder beside it that is named after it.

    Raises:
        OSError: a file cannot be written.
    """
    body = found.to_json()
    folder = file.with_suffix("")
    for number, (step, entry) in enumerate(zip(found.path, body["path"], strict=True)):
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f"{number}.png"
        Image.fromarray(step.image).save(picture)
        entry["picture"] = f"{folder.name}/{picture.name}"
    write_json(file, body)
