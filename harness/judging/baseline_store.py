"""Baseline files on disk: ``<root>/<case id>.json``, sorted and indented, so that changes can be reviewed."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness._util.atomic_files import alone, disk_errors_as, write_bytes, write_json
from harness._util.validation import read_model
from harness.errors import BaselineError, ImageError
from harness.judging.baseline import MAX_ACCEPTED, BaselineFile, Entry
from harness.judging.baseline_judging import Distance, against_baseline
from harness.metrics.scores import LatentDistance
from harness.schema.result import Row

SUFFIX = ".json"
LATENTS = ".latents.npy.zz"


class BaselineStore:
    """The folder of baselines.

    Args:
        root: the folder; it need not exist before something is accepted.

    Raises:
        BaselineError: ``root`` is a file.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        root = Path(root)
        if root.is_file():
            raise BaselineError("is no folder", file=root, fix="name the folder that holds the baselines")
        self.root = root

    def path(self, case_id: str) -> Path:
        """Return the path of a case's baseline."""
        return self.root / f"{case_id}{SUFFIX}"

    def entries(self, case_id: str) -> dict[str, list[Entry]]:
        """Return what was accepted for a case, by environment key; empty where nothing was.

        Raises:
            BaselineError: the file cannot be read or belongs to another case.
        """
        path = self.path(case_id)
        if not path.exists():
            return {}
        fix = "restore the file, or delete it and accept the case again"
        found = read_model(path, BaselineFile, BaselineError, fix=fix)
        if found.case != case_id:
            raise BaselineError(
                f"is the baseline of {found.case!r}", file=path, field="case", fix="move it back"
            )
        return found.entries

    @contextmanager
    def changing(self, case_id: str) -> Iterator[None]:
        """Keep other processes from accepting for the case, from reading its entries to writing them.

        Raises:
            BaselineError: the folder cannot be written.
        """
        path = self.path(case_id)
        with disk_errors_as(BaselineError, "cannot be written", file=path), alone(path):
            yield

    def accept(self, case_id: str, key: str, entry: Entry, *, also: bool = False) -> Path:
        """Accept an entry in one environment and leave the others as they are; returns the file written.

        Args:
            also: keep what was accepted in that environment, instead of replacing it.

        Raises:
            BaselineError: the file cannot be read or written, or holds as many results as it may.
        """
        entries = self.entries(case_id)
        others = [other for other in entries.get(key, []) if other.image_sha256 != entry.image_sha256]
        if also and len(others) >= MAX_ACCEPTED:
            raise BaselineError(
                f"holds {MAX_ACCEPTED} accepted results of {key}, the most there may be",
                file=self.path(case_id),
                fix="accept without --also to keep only this one",
            )
        entries = {**entries, key: [*others, entry] if also else [entry]}
        content = BaselineFile(case=case_id, entries=entries).model_dump(mode="json")
        path = self.path(case_id)
        with disk_errors_as(BaselineError, "cannot be written", file=path):
            write_json(path, content, sort_keys=True)
        self._drop_latents(case_id, (entry for found in entries.values() for entry in found))
        return path

    def keep_latents(self, case_id: str, key: str, source: Path, sha256: str) -> str:
        """Copy a file of latents into the store; returns its path from the root.

        Raises:
            BaselineError: it cannot be read or written.
        """
        name = f"{case_id}.{key}.{sha256[:12]}{LATENTS}"
        with disk_errors_as(BaselineError, "cannot be kept", file=source):
            latents = source.read_bytes()
        with disk_errors_as(BaselineError, "cannot be kept", file=self.root / name):
            write_bytes(self.root / name, latents)
        return name

    def judge(self, row: Row, run: Path) -> Row:
        """Return ``row``, whose latents lie in the run folder ``run``, judged against its baseline too."""
        latents = run / row.images.latents if row.images.latents else None
        return against_baseline(row, self.entries(row.case), self._distance(latents))

    def _distance(self, latents: Path | None) -> Distance:
        """Return what measures latents in a file against those of an entry, or says which are damaged."""
        from harness.metrics.latents import latent_distance, read_latents

        def measure(entry: Entry) -> LatentDistance | str | None:
            if latents is None or entry.latents is None:
                return None
            try:
                found = read_latents(latents)
            except ImageError:
                return "this run's latents cannot be read: run the case again"
            try:
                return latent_distance(found, read_latents(self.root / entry.latents))
            except ImageError:
                return f"the baseline's {entry.latents} cannot be read: restore it, or accept the case again"

        return measure

    def _drop_latents(self, case_id: str, entries: Iterable[Entry]) -> None:
        kept = {entry.latents for entry in entries}
        for path in self.path(case_id).parent.glob(f"{glob.escape(case_id.rpartition('/')[2])}.*{LATENTS}"):
            if path.relative_to(self.root).as_posix() not in kept:
                path.unlink(missing_ok=True)

    def case_ids(self) -> list[str]:
        """Return the ids of every case that has a baseline file, sorted."""
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob(f"*{SUFFIX}"))
        return sorted(
            name.removesuffix(SUFFIX) for name in found if not name.rpartition("/")[2].startswith(".")
        )

    def orphans(self, known: Iterable[str], *, everything: bool) -> list[str]:
        """Return the ids that have a baseline and no case.

        Args:
            known: ids of the cases that exist.
            everything: ``known`` is all there are; otherwise only the folders of known cases are looked at.
        """
        ids = set(known)
        folders = {_folder(case_id) for case_id in ids}
        return [
            name for name in self.case_ids() if name not in ids and (everything or _folder(name) in folders)
        ]


def _folder(case_id: str) -> str:
    return case_id.rpartition("/")[0]
