"""Renders that a run need not make: those that wait for their scores, and those that run folders hold."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError
from harness.runs.pending_renders import PendingRenders
from harness.runs.planned import Planned, facts_of
from harness.runs.stored_renders import StoredRenders
from harness.schema.render import Render, RenderRequest
from harness.schema.result import Row

_CODE = ("pipeline", "schema/render.py", "schema/spec.py")
_PACKAGE = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class RenderKeys:
    """Hashes of everything that decides a render's pixels.

    Attributes:
        revisions: of every base, by name.
        facts: environment, and the options that reach the pixels.
    """

    revisions: dict[str, str]
    facts: dict[str, Any]

    def of(self, request: RenderRequest) -> str:
        """Return the key of ``request``: base and LoRA by content, machine, libraries and our own code."""
        everything = {
            "request": {**facts_of(request), "base": self.revisions[str(request.base)]},
            "facts": self.facts,
            "attention": os.environ.get("DIFFUSERS_ATTN_BACKEND"),
            "code": code_sha256(),
        }
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()

    def checked(self, request: RenderRequest, made: Render) -> str:
        """Return the key of a new render, once its base is known to be the one that was checked.

        Raises:
            CheckpointError: it is another.
        """
        used, expected = made.rendered.revision, self.revisions[str(request.base)]
        if used != expected:
            raise CheckpointError(
                f"was rendered with revision {used}, but {expected} was checked before the run",
                file=str(request.base),
                fix="pin it with --base OWNER/NAME@COMMIT, or copy one folder to every machine",
            )
        return self.of(request)


class RenderCache:
    """Finds renders, and keeps those that wait for their scores.

    Args:
        run: the run folder, opened for writing.
        keys: names renders by all that decides their pixels; None for a renderer of the caller's own.
        writes: whether new renders are put on disk until their row is stored.
    """

    def __init__(self, run: Path, keys: RenderKeys | None, *, writes: bool) -> None:
        self._run, self._keys, self._writes = run, keys, writes
        self._pending = PendingRenders(run)
        self._stored: StoredRenders | None = None

    def search_runs(self, wanted: Sequence[Planned]) -> None:
        """Look for the renders of ``wanted`` in this run folder and in those beside it."""
        if self._keys is not None:
            requests = [item.request for item in wanted if item.request is not None]
            self._stored = StoredRenders(self._run, map(self._keys.of, requests))

    def find(self, item: Planned) -> Render | None:
        """Return a render of ``item`` that is there already."""
        return self._pending.find(item) or self.stored_render(item)

    def stored_render(self, item: Planned) -> Render | None:
        """Return a render of ``item`` that a run folder holds."""
        if self._stored is None or self._keys is None or item.request is None:
            return None
        return self._stored.find(self._keys.of(item.request))

    def with_key(self, item: Planned, made: Render) -> Render:
        """Return a new render with its key.

        Raises:
            CheckpointError: another machine has another base of this name, or it was changed meanwhile.
        """
        if self._keys is None or item.request is None:
            return made
        return dataclasses.replace(made, key=self._keys.checked(item.request, made))

    def add(self, item: Planned, made: Render) -> None:
        """Put a new render on disk until its row is stored.

        Raises:
            OSError: the disk refuses.
        """
        if self._writes and made.taken_from is None:
            self._pending.add(item, made)

    def discard(self, item: Planned) -> None:
        """Forget a render that waits for its scores."""
        self._pending.discard(item)

    def stored(self, item: Planned, row: Row) -> None:
        """Take note that the row of ``item`` is stored: its render serves whoever asks for it next."""
        self._pending.discard(item)
        if self._stored is not None:
            self._stored.add(self._run, row)


@cache
def code_sha256() -> str:
    """Return a hash of our own code that a render goes through."""
    files = [
        file
        for name in _CODE
        for file in sorted((_PACKAGE / name).rglob("*.py") if "." not in name else [_PACKAGE / name])
    ]
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.relative_to(_PACKAGE).as_posix().encode() + file.read_bytes())
    return whole.hexdigest()
