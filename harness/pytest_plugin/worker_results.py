"""xdist: every worker writes a run folder of its own; the controller makes one of them."""

from __future__ import annotations

import glob
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from harness._util.atomic_files import write_json
from harness.errors import HarnessError, RunError
from harness.pytest_plugin.settings import refuse_no_folder
from harness.runs.folder import locked, refuse_foreign
from harness.runs.run_files import MANIFEST, RESULTS, read_manifest, read_rows, write_rows
from harness.runs.run_identity import refuse_other

UNFINISHED = f".{MANIFEST}.unfinished"
"""Marks the run folder of a session that has not come to its end: the same command goes on there."""


def finished(results: Path) -> bool:
    """Say whether a session came to its end in this run folder."""
    return (results / MANIFEST).exists() and not (results / UNFINISHED).exists()


def refuse_results(results: Path) -> None:
    """Refuse what no session can put its results in, before anything is rendered.

    Raises:
        pytest.UsageError: a finished run, a file, a URL, or a folder that holds something else.
    """
    try:
        refuse_no_folder(results, fix="name another")
        if finished(results):
            raise RunError("holds a run already", fix="name another")
        refuse_foreign(results)
    except HarnessError as error:
        raise pytest.UsageError(f"--harness-results: {results} {error.found}; {error.fix}") from None
    except OSError as error:
        raise pytest.UsageError(
            f"--harness-results: {results} cannot be used ({error.strerror}); name another"
        ) from None


def own_folder(results: Path, worker: str | None, identity: dict[str, Any]) -> Path:
    """Return where a process of the session writes, marked as unfinished.

    A worker writes beside the run folder, so that the two are never mistaken. Without workers, what killed
    ones of the same session had made is there already.

    Raises:
        RunError: another session, with or without workers, has not come to its end here; or is at work.
    """
    _refuse_other_run(results, identity)
    if worker:
        own = results.with_name(f".{results.name}.{worker}")
    else:
        merge_workers(results)
        own = results
    with suppress(OSError):  # RunFolder says what is wrong
        own.mkdir(parents=True, exist_ok=True)
        (own / UNFINISHED).touch()
    return own


def _refuse_other_run(results: Path, identity: dict[str, Any]) -> None:
    for folder in (results, *_parts(results)):
        if (folder / MANIFEST).is_file():
            refuse_other(read_manifest(folder)["identity"], identity, folder, any_gpu=True)


def merge_workers(results: Path) -> None:
    """Make one run folder of the workers' folders and what the run folder holds already; remove the parts.

    Rows are ordered by case, so that the result does not depend on which worker was faster. A case that two
    workers ran keeps one row. The merged rows are written last: until then the workers' folders stay whole.

    Raises:
        RunError: the folders hold different runs, or another process writes to one of them; all stay whole.
    """
    parts = _parts(results)
    if not parts:
        return
    manifest = read_manifest(parts[0])
    _refuse_other_run(results, manifest["identity"])
    with ExitStack() as locks:
        for folder in (results, *parts):
            locks.enter_context(locked(folder))
        rows = {(row.case, row.variant): row for folder in (results, *parts) for row in read_rows(folder)}
        (results / UNFINISHED).touch()
        if not (results / MANIFEST).exists():
            write_json(results / MANIFEST, manifest, sort_keys=True)
        for part in parts:
            if (part / "images").is_dir():
                shutil.copytree(part / "images", results / "images", dirs_exist_ok=True)
        write_rows(results, [rows[key] for key in sorted(rows)])
    for part in parts:
        (part / RESULTS).unlink(missing_ok=True)
        shutil.rmtree(part / "images", ignore_errors=True)
        shutil.rmtree(part)  # without the manifest, what a killed process left of the others is no run folder


def _parts(results: Path) -> list[Path]:
    """Return the folders of this session's workers, and of those that were killed."""
    found = results.parent.glob(f".{glob.escape(results.name)}.gw*")
    return sorted(part for part in found if (part / MANIFEST).is_file())
