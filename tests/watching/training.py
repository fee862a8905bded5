"""A training that goes on, played by copying a genuine job file by file."""

from __future__ import annotations

import os
from pathlib import Path

OLD = 1_700_000_000


class Training:
    """A job folder that fills; its previews take two steps here, so they drift."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source, folder
        (folder / "samples").mkdir(parents=True)
        text = (source / "config.yaml").read_text()
        assert "sample_steps: 25" in text
        self.put("config.yaml", text.replace("sample_steps: 25", "sample_steps: 2").encode())

    def put(self, name: str, data: bytes | None = None, *, old: bool = True) -> Path:
        """Write a file of the job, long ago or just now."""
        path = self.folder / name
        path.write_bytes((self.source / name).read_bytes() if data is None else data)
        if old:
            os.utime(path, (OLD, OLD))
        return path

    def preview(self, step: int, index: int) -> str:
        (found,) = (self.source / "samples").glob(f"*__{step:09d}_{index}.*")
        return f"samples/{found.name}"
