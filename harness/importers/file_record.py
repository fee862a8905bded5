"""What a folder of cases remembers of the files of an import, so that the next one need not read them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from harness._util.atomic_files import read_bytes, sha256_file, write_text

RECORD = ".import-record.json"
MIN_AGE = 2_000_000_000
"""Nanoseconds since its last change before a file is remembered: one just written may yet change unseen."""


class FileRecord:
    """Facts about files, good for as long as size and modification time stay the same.

    Args:
        folder: the folder of cases; paths are kept relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._entries: dict[str, list[Any]] = _load(self._folder / RECORD)
        self._changed = False

    def recall(self, path: Path) -> dict[str, Any] | None:
        """Return what was remembered of ``path``, or None where nothing was or the file has changed."""
        entry = self._entries.get(self._key(path))
        if entry is None:
            return None
        found = path.stat()
        return dict(entry[2]) if [found.st_size, found.st_mtime_ns] == entry[:2] else None

    def remember(self, path: Path, *, own: bool = False, **facts: Any) -> None:
        """Remember ``facts`` about a file, beside what is known of it as it is.

        Args:
            own: the import wrote the file itself, and nobody else will.
        """
        found = path.stat()
        if not own and time.time_ns() - found.st_mtime_ns < MIN_AGE:
            return
        entry = [found.st_size, found.st_mtime_ns, (self.recall(path) or {}) | facts]
        if self._entries.get(self._key(path)) != entry:
            self._entries[self._key(path)] = entry
            self._changed = True

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file, from memory where it is unchanged."""
        if (known := (self.recall(path) or {}).get("sha256")) is not None:
            return str(known)
        found = sha256_file(path)
        self.remember(path, sha256=found)
        return found

    def save(self) -> None:
        """Write the record into its folder, if it has changed."""
        if self._changed:
            write_text(self._folder / RECORD, json.dumps(self._entries, sort_keys=True))

    def _key(self, path: Path) -> str:
        return os.path.relpath(path, self._folder)


def _load(path: Path) -> dict[str, list[Any]]:
    """Return a record's entries; none where it is missing or broken, since it only saves time."""
    try:
        data = json.loads(read_bytes(path))
        return {key: [int(size), int(changed), dict(facts)] for key, (size, changed, facts) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
