"""Copies of previews and LoRAs in the folder of cases."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from harness._util.real_paths import real_path
from harness.importers.draft import SourceFile
from harness.importers.file_record import FileRecord


@dataclass
class Copies:
    """Copies of previews and LoRAs, staged only where the folder does not hold the same bytes.

    Attributes:
        taken: SHA-256 by path of the files in use; another file of that name gets its hash in its name.
        new: SHA-256 by path of the copies that were staged.
    """

    staged: Path
    folder: Path
    taken: dict[str, str]
    record: FileRecord
    new: dict[str, str] = field(default_factory=dict)
    _known: dict[SourceFile, str] = field(default_factory=dict)

    def add(self, source: SourceFile, subfolder: str, name: str | None = None) -> tuple[str, str]:
        """Return the path of the copy from the case file, and its SHA-256."""
        if source not in self._known:
            self._known[source] = self._add(source, subfolder, name or source.path.name)
        return self._known[source], source.sha256

    def _add(self, source: SourceFile, subfolder: str, name: str) -> str:
        sha256 = source.sha256
        path = f"{subfolder}/{name}"
        if self.taken.get(path, sha256) != sha256:
            path = f"{subfolder}/{Path(name).stem}_{sha256[:8]}{Path(name).suffix}"
        self.taken[path] = sha256
        if not self._holds(self.folder / path, sha256):
            self.new[path] = sha256
            (self.staged / subfolder).mkdir(exist_ok=True)
            shutil.copyfile(source.path, self.staged / path)
        return path

    def _holds(self, path: Path, sha256: str) -> bool:
        """Whether a file is there already; what is reached by a link out of the folder is none of its own."""
        leads_out = path.is_symlink() and not real_path(path).is_relative_to(self.folder)
        return not leads_out and path.is_file() and self.record.sha256(path) == sha256
