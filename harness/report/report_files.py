"""Write a report's files: whole or not at all; unchanged ones are not touched, old ones are removed."""

from __future__ import annotations

from pathlib import Path

from harness._util.atomic_files import write_bytes


class Output:
    """The files of one report.

    A report can be made again at any time, so writes do not wait for the disk.

    Attributes:
        written: the name of every file that belongs to this report.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.written: set[str] = set()

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one file, given by its path from the folder, and return its path."""
        path = self._folder / name
        data = content.encode("utf-8") if isinstance(content, str) else content
        self.written.add(name)
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return path
        write_bytes(path, data, lasting=False)
        return path

    def remove_others(self, *folders: str) -> None:
        """Remove files that an older report left in these folders; only the report writes there."""
        for folder in folders:
            for path in (self._folder / folder).glob("*"):
                if f"{folder}/{path.name}" not in self.written and path.is_file():
                    path.unlink()
