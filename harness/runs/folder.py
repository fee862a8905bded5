"""The run folder on disk: a manifest, an append-only ``results.jsonl``, and lossless images.

    reports/<run>/run.json             what the run is: cases, options, environment
    reports/<run>/results.jsonl        one row per finished case, whole lines only
    reports/<run>/images/<case>/       preview, re-run and maps; hidden: renders that wait for their scores
    reports/<run>/index.html           the report

A killed run leaves whole rows and whole images; opening the folder again with the same manifest resumes it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness._util.atomic_files import (
    PART,
    copy_file,
    disk_errors_as,
    sha256_file,
    write_json,
)
from harness._util.output_paths import is_url
from harness._util.real_paths import real_path
from harness.errors import RunError
from harness.runs.run_files import MANIFEST, RESULTS, read_manifest, read_results, read_rows
from harness.runs.run_identity import grown, refuse_other
from harness.schema.result import Row

LOCK = ".lock"


class RunFolder:
    """A run folder opened for writing by one process.

    Args:
        path: the folder; created with its parents.
        identity: what makes this run this run; another identity in the folder refuses it.
        about: facts to keep in the manifest that may differ on resuming (time, environment).
        fetch: brings rows that another machine made; called once the folder is this run's.
        grows: cases may come to those that the folder's run has.

    Raises:
        RunError: not writable, not a run folder, another run's, or in use.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        about: dict[str, Any],
        fetch: Callable[[], None] | None = None,
        grows: bool = False,
    ) -> None:
        self.path = path
        refuse_foreign(path)
        self._lock = _lock(path, "--out", "choose another folder")
        try:
            refuse_links(path)
            _remove_parts(path)
            self._claim(identity, about, grows)
            if fetch is not None:
                fetch()
            _drop_partial_line(path / RESULTS)
            self.done = {(row.case, row.variant): row for row in read_rows(path)}
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._lock.release()
        if isinstance(error, OSError):
            raise disk_error(self.path, error) from error

    def append(self, row: Row) -> None:
        """Add one row, as one whole line that is on the disk when this returns."""
        line = memoryview((row.model_dump_json() + "\n").encode())
        with (self.path / RESULTS).open("ab", buffering=0) as stream:
            start = stream.tell()
            try:
                while line:
                    line = line[stream.write(line) :]
                os.fsync(stream.fileno())
            except BaseException:  # a full disk or Ctrl-C: the next row must not continue half a line
                stream.truncate(start)
                raise
        self.done[row.case, row.variant] = row

    def image_folder(self, case_id: str, variant: str) -> Path:
        """Return the folder for one row's images; created if absent."""
        folder = self.path / "images" / case_id / variant
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def keep_preview(self, case_id: str, preview: Path) -> str:
        """Copy ``preview`` into the run and return its path relative to the run folder."""
        target = self.path / "images" / case_id / f"preview{preview.suffix.lower()}"
        if not target.exists() or sha256_file(target) != sha256_file(preview):
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(preview, target)
        return target.relative_to(self.path).as_posix()

    def _claim(self, identity: dict[str, Any], about: dict[str, Any], grows: bool) -> None:
        manifest = self.path / MANIFEST
        if manifest.exists():
            found = read_manifest(self.path)
            known = found["identity"]
            if grows:
                known, identity = grown(known, identity), grown(identity, known)
            refuse_other(known, identity, self.path)
            if known != found["identity"]:
                write_json(manifest, {**found, "identity": known}, sort_keys=True)
            return
        write_json(manifest, {"identity": identity, **about}, sort_keys=True)


def refuse_foreign(path: Path) -> None:
    """Refuse a URL, or a folder that holds something else than a run, before anything is put there.

    Raises:
        RunError: says which.
    """
    if is_url(path):
        raise RunError(
            "is a URL, and a run needs a folder, to which it adds one row after another",
            file=path,
            field="--out",
            fix="choose a folder; harness run --copy-to URL brings it there",
        )
    if not path.is_dir() or (path / MANIFEST).exists():
        return
    if any(not entry.name.startswith((LOCK, f".{MANIFEST}.")) for entry in path.iterdir()):
        raise RunError("is not empty and holds no run", file=path, field="--out", fix="choose another folder")


def refuse_for_import(path: Path, cases: Path) -> None:
    """Refuse a run folder before case files are written for it.

    Args:
        cases: the folder for the case files.

    Raises:
        RunError: ``path`` holds something else than a run, or would hold the case files too.
    """
    refuse_foreign(path)
    if real_path(cases).is_relative_to(real_path(path)):
        fix = "choose another folder for one of the two"
        raise RunError(f"is to hold the case files too ({cases})", file=path, field="--out", fix=fix)


def _lock(path: Path, option: str | None, fix: str) -> Any:
    """Return the folder's lock, which this process holds.

    Args:
        option: what named the folder, if something did.
        fix: what to do where the folder cannot be written or another process holds it.
    """
    from filelock import FileLock, Timeout

    with disk_errors_as(RunError, "cannot be written", file=path, field=option, fix=fix):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            found = "is in use by another process"
            raise RunError(found, file=path, field=option, fix=f"wait for it, or {fix}") from error
    return lock


def refuse_links(folder: Path) -> None:
    """Refuse a run folder that holds links: through them a stranger's run would read and write elsewhere.

    Raises:
        RunError: names the first link.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                fix = "put the file itself there"
                raise RunError("is a link; a run folder holds its own files", file=path, fix=fix)


def _remove_parts(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for place, _, files in os.walk(folder):
        for name in files:
            if name.startswith(".") and name.endswith(PART):
                Path(place, name).unlink()


def disk_error(folder: Path, error: OSError) -> RunError:
    """Return a full disk, a read-only folder or a file that vanished during a run as one line."""
    fix = "what was finished is saved: mend that, then repeat the command with this folder to go on"
    found = f"cannot go on: {error.strerror or error}"
    named = None if error.errno == errno.ENOSPC else error.filename  # of a full disk no file is to blame
    return RunError(found, file=folder, field=str(named) if named else None, fix=fix)


def _drop_partial_line(results: Path) -> None:
    """Cut off a last line that a killed process left without its newline."""
    if not results.exists():
        return
    data = read_results(results)
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(results, whole)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a run folder that is there.

    Raises:
        RunError: another process is writing there, or it cannot be written.
    """
    lock = _lock(folder, None, "work on a copy of it")
    try:
        refuse_links(folder)
        yield
    finally:
        lock.release()
