"""A second copy of a run folder at an fsspec URL, for runs on a machine whose disk is not kept.

While the run goes on, a thread sends what changed. Rows go after the images that they name, and only whole
lines, so that the copy is a run that can go on at any moment. Hidden files stay here: locks, parts, renders
that wait. fsspec's backends raise errors of any kind, so every ``Exception`` of theirs becomes one line.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness._util.atomic_files import copy_file, write_bytes
from harness._util.real_paths import real_path
from harness._util.redaction import HIDDEN, redact
from harness.errors import CopyError, HarnessError, RunError
from harness.runs.run_files import MANIFEST, RESULTS, parse_manifest, parse_rows, read_rows
from harness.runs.run_identity import refuse_other

INTERVAL_SECONDS = 10.0
"""Seconds between two looks at what changed."""

SENT = ".sent.json"
"""What of the folder is at the URL: size and time of every file when it was sent, and the rows' hash."""

OPTION = "--copy-to"
_BATCH = 64
_State = list[int]


class Mirror:
    """The copy of a run folder at a URL; as a context, it is kept up to date and completed at the end.

    Args:
        folder: the run folder, here.
        url: any that fsspec writes to, ``s3://bucket/nights/1`` or ``file:///mnt/nights/1``.
        tell: takes a line where sending begins to fail, and one where it works again.

    Raises:
        RunError: no URL, of an unknown kind, or its package is not installed.
    """

    def __init__(self, folder: Path, url: str, tell: Callable[[str], None] | None = None) -> None:
        self._folder, self._url = folder, url
        self._tell = tell or (lambda _line: None)
        with self._failing("cannot be used"):
            self._fs, root = _open(url)
        self._root = root.rstrip("/")
        self._local = getattr(self._fs, "local_file", False)
        if self._local and _overlap(real_path(folder), real_path(root)):
            raise RunError("overlaps the run folder", file=url, field=OPTION, fix="name a place elsewhere")
        self._sent, self._rows_sent = self._remembered()
        self._there: dict[str, int] = {}
        self._manifest = b""
        self._made: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_sending, name="copy", daemon=True)

    def check(self, identity: dict[str, Any]) -> None:
        """Look at what is there, and whether it can be written to; nothing is fetched or sent.

        Raises:
            RunError: the URL holds something else, or cannot be read or written.
        """
        with self._failing("cannot be read"):
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True)
            sizes = {path.removeprefix(f"{self._root}/"): found[path]["size"] for path in found}
            self._there = {name: size for name, size in sizes.items() if _is_ours(name)}
            if MANIFEST in self._there:
                self._manifest = self._fs.cat_file(self._path(MANIFEST))
        if MANIFEST in self._there:
            refuse_other(parse_manifest(self._manifest, self._url)["identity"], identity, self._url, OPTION)
        elif self._there:
            fix = "name an empty place"
            raise RunError("is not empty and holds no run", file=self._url, field=OPTION, fix=fix)
        with self._failing("cannot be written"):
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(self._path(".writable"), b"")
            with suppress(Exception):  # who may write may not always delete
                self._fs.rm_file(self._path(".writable"))

    def fetch(self) -> None:
        """Bring what is there into a run folder that has no rows yet; rows last, so that it can be repeated.

        Raises:
            RunError: it cannot be fetched, or the folder has rows and lacks some that are there.
        """
        rows, repeat = b"", f"repeat the command with --out {self._folder}"
        with self._failing("cannot be fetched", fix=repeat):
            if RESULTS in self._there:
                rows = self._fs.cat_file(self._path(RESULTS))
            parse_rows(rows, self._url)
        if read_rows(self._folder):
            self._refuse_lacking(rows)
            self._sent = {name: at for name, at in self._sent.items() if self._there.get(name) == at[0]}
            if self._rows_sent != _sha256(rows):
                self._sent.pop(RESULTS, None)
            return
        with self._failing("cannot be fetched", fix=repeat):
            names = [name for name in self._there if name not in (MANIFEST, RESULTS)]
            for parent in {(self._folder / name).parent for name in names}:
                parent.mkdir(parents=True, exist_ok=True)
            if names:
                here = [str(self._folder / name) for name in names]
                self._fs.get([self._path(name) for name in names], here)
            if self._manifest:
                write_bytes(self._folder / MANIFEST, self._manifest)
            if rows:
                write_bytes(self._folder / RESULTS, rows)
            self._sent = {name: at for name, at in _states(self._folder).items() if name in self._there}
            self._rows_sent = _sha256(rows)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._stop.set()
        if error is None:
            self._thread.join()
            self.send()
        elif isinstance(error, Exception):
            self._thread.join()
            with suppress(CopyError):  # the run's own error is what is told
                self.send()

    def send(self) -> None:
        """Send what changed since it was last sent.

        Raises:
            CopyError: something was not sent; the run folder holds everything.
        """
        fix = f"{self._folder} holds the whole run: repeat the command with --out {self._folder}, "
        with self._failing("is not complete", CopyError, f"{fix}which sends what is missing"):
            try:
                self._send()
            finally:
                about = {"url": redact(self._url), "rows": self._rows_sent, "files": self._sent}
                write_bytes(self._folder / SENT, json.dumps(about).encode(), lasting=False)

    def _send(self) -> None:
        results = self._folder / RESULTS
        rows_at = _state(results) if results.exists() else None
        rows = results.read_bytes() if rows_at else b""
        states = _states(self._folder)  # after the rows were read: it has every image that they name
        states.pop(RESULTS, None)
        changed = [name for name, at in states.items() if self._sent.get(name) != at]
        first = [name for name in changed if name == MANIFEST]  # without it, images are nobody's
        rest = [name for name in changed if name != MANIFEST]
        for names in filter(None, (first, *(rest[at : at + _BATCH] for at in range(0, len(rest), _BATCH)))):
            self._make_folders(names)
            self._put(names)
            self._sent |= {name: states[name] for name in names}
        if rows_at and self._sent.get(RESULTS) != rows_at:
            whole = rows[: rows.rfind(b"\n") + 1]
            if self._local:
                write_bytes(Path(self._path(RESULTS)), whole)
            else:
                self._fs.pipe_file(self._path(RESULTS), whole)
            self._sent[RESULTS], self._rows_sent = rows_at, _sha256(whole)

    def _put(self, names: list[str]) -> None:
        """Send files; each replaces what was there at once: an object does, on a disk it is moved there."""
        if not self._local:
            self._fs.put([str(self._folder / name) for name in names], [self._path(name) for name in names])
            return
        for name in names:
            copy_file(self._folder / name, Path(self._path(name)))

    def _make_folders(self, names: list[str]) -> None:
        for parent in {posixpath.dirname(self._path(name)) for name in names} - self._made:
            self._fs.makedirs(parent, exist_ok=True)
            self._made.add(parent)

    def _keep_sending(self) -> None:
        pause, failing = INTERVAL_SECONDS, False
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                self.send()
            except CopyError as error:
                if not failing:
                    self._tell(f"{OPTION}: {error.found}; it is tried again, the last time at the end")
                failing = True
            else:
                if failing:
                    self._tell(f"{OPTION}: sending works again")
                failing = False
            pause = max(INTERVAL_SECONDS, time.monotonic() - began)

    def _refuse_lacking(self, rows: bytes) -> None:
        """Refuse rows that another machine sent since this folder did, and that are not in it."""
        here = set((self._folder / RESULTS).read_bytes().split(b"\n"))
        lacking = [line for line in rows.split(b"\n") if line not in here]
        if lacking and self._rows_sent != _sha256(rows):
            raise RunError(
                f"holds {len(lacking)} rows that {self._folder} lacks",
                file=self._url,
                field=OPTION,
                fix="name a new folder with --out, into which they are fetched",
            )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _remembered(self) -> tuple[dict[str, _State], str]:
        """Return what was sent before, and the hash of the rows that were; nothing where that is damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            about = json.loads((self._folder / SENT).read_bytes())
            files = {str(name): [int(size), int(at)] for name, (size, at) in about["files"].items()}
            if about["url"] == redact(self._url):
                return files, str(about["rows"])
        return {}, ""

    @contextmanager
    def _failing(
        self, what: str, kind: type[HarnessError] = RunError, fix: str = "mend that, or name another URL"
    ) -> Iterator[None]:
        try:
            yield
        except HarnessError:
            raise
        except Exception as error:
            found = f"{what} ({_reason(error, self._url)})"
            raise kind(found, file=self._url, field=OPTION, fix=fix) from error


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    from fsspec.core import url_to_fs
    from fsspec.registry import available_protocols, known_implementations

    protocol = url.partition("://")[0].rpartition("::")[2]
    if "://" not in url or protocol not in available_protocols():
        raise RunError(
            f"no URL that fsspec knows: {url!r}",
            field=OPTION,
            fix="give one such as s3://bucket/nights/1 or file:///mnt/nights/1",
        )
    try:
        fs, root = url_to_fs(url)
    except ImportError as error:
        package = known_implementations.get(protocol, {}).get("class", "fsspec").split(".")[0]
        fix = f"pip install {package}" if package != "fsspec" else "install that"
        raise RunError(f"needs a package: {error}", file=url, field=OPTION, fix=fix) from error
    return fs, root


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _reason(error: Exception, url: str) -> str:
    """Return what a backend says, without the password, which it may say outside of a URL."""
    text = (isinstance(error, OSError) and error.strerror) or str(error).strip() or type(error).__name__
    with suppress(ValueError):
        if secret := urlsplit(url).password:
            text = text.replace(secret, HIDDEN).replace(unquote(secret), HIDDEN)
    return text


def _is_ours(name: str) -> bool:
    """Say whether a run has a file of this name: not hidden, and its path leads nowhere else."""
    parts = name.split("/")
    return not parts[-1].startswith(".") and not {"", ".", ".."} & set(parts)


def _states(folder: Path) -> dict[str, _State]:
    """Return the state of every file that belongs to the copy, by its path from the folder."""
    found = {}
    for place, _, files in os.walk(folder):
        for path in (Path(place, name) for name in files if not name.startswith(".")):
            found[path.relative_to(folder).as_posix()] = _state(path)
    return found


def _state(path: Path) -> _State:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
