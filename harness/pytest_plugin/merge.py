"""xdist: every worker writes a run folder of its own; the controller makes one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import HarnessError, RunError
from harness.files import write_text
from harness.pytest_plugin.settings import refuse_no_folder
from harness.runs.store import MANIFEST, RESULTS, read_manifest, read_rows, refuse_foreign

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


def worker_folder(results: Path, worker: str) -> Path:
    """Return where a worker writes: beside the run folder, so that the two are never mistaken."""
    return results.with_name(f".{results.name}.{worker}")


def merge_workers(results: Path) -> list[Path]:
    """Make one run folder of the workers' folders and remove them; returns the folders that were merged.

    Rows are ordered by case, so that the result does not depend on which worker was faster. A case that two
    workers ran keeps one row. The merged rows are written last: until then the workers' folders stay whole.
    """
    parts = sorted(results.parent.glob(f".{results.name}.gw*"))
    parts = [part for part in parts if (part / MANIFEST).is_file()]
    if not parts:
        return []
    rows = {(row.case, row.variant): row for part in parts for row in read_rows(part)}
    results.mkdir(parents=True, exist_ok=True)
    (results / UNFINISHED).touch()
    for part in parts:
        if (part / "images").is_dir():
            shutil.copytree(part / "images", results / "images", dirs_exist_ok=True)
    write_text(results / MANIFEST, json.dumps(read_manifest(parts[0]), indent=2, sort_keys=True) + "\n")
    write_text(results / RESULTS, "".join(rows[key].model_dump_json() + "\n" for key in sorted(rows)))
    for part in parts:
        shutil.rmtree(part)
    return parts
