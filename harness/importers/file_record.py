"""What a folder of cases remembers of the files of an import, so that the next one need not read them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from harness._util.atomic_files import read_bytes, sha256_file, write_text
from harness._util.real_paths import real_path

RECORD = ".import-record.json"
MIN_AGE = 2_000_000_000
"""Nanoseconds since its last change before a file is remembered: one just written may yet change unseen."""


class FileRecord:
    """Facts about files, good for as long as size and modification time stay the same.

    Args:
        folder: the folder of cases; paths are kept relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = real_path(folder)
        self._entries: dict[str, list[Any]] = _load(self._folder / RECORD)
        self._places: dict[str, str] = {}
        self._changed = False

    def recall(self, path: Path) -> dict[str, Any] | None:
        """Return what was remembered of ``path``, or None where nothing was or the file has changed."""
        entry = self._entries.get(self._key(path))
        return None if entry is None else _facts(entry, path.stat())

    def remember(self, path: Path, *, own: bool = False, **facts: Any) -> None:
        """Remember ``facts`` about a file, beside what is known of it as it is.

        Args:
            own: the import wrote the file itself, and nobody else will.
        """
        found = path.stat()
        if not own and time.time_ns() - found.st_mtime_ns < MIN_AGE:
            return
        known = self._entries.get(key := self._key(path))
        facts = ((known and _facts(known, found)) or {}) | facts
        entry = [found.st_size, found.st_mtime_ns, facts]
        if known != entry:
            self._entries[key] = entry
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
        """Return the path from the folder of cases; that of a file's folder is worked out once."""
        folder, name = os.path.split(path)
        if (place := self._places.get(folder)) is None:
            place = self._places[folder] = os.path.relpath(folder or ".", self._folder)
        return name if place == "." else f"{place}{os.sep}{name}"


def _facts(entry: list[Any], found: os.stat_result) -> dict[str, Any] | None:
    """Return what an entry says of a file that has not changed since."""
    return dict(entry[2]) if [found.st_size, found.st_mtime_ns] == entry[:2] else None


def _load(path: Path) -> dict[str, list[Any]]:
    """Return a record's entries; none where it is missing or broken, since it only saves time."""
    try:
        data = json.loads(read_bytes(path))
        return {key: [int(size), int(changed), dict(facts)] for key, (size, changed, facts) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
