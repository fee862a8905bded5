"""What a run folder holds, read and written: the manifest and the rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness._util.atomic_files import disk_errors_as, read_bytes, write_text
from harness._util.validation import problems_as
from harness.errors import RunError
from harness.runs.run_identity import CASES
from harness.schema.result import Row

MANIFEST = "run.json"
RESULTS = "results.jsonl"
NO_ROW = "it is damaged, or of another version of the harness: take the line out and repeat the run's command"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what ``run.json`` says.

    Raises:
        RunError: the folder is not a run folder.
    """
    try:
        data = read_bytes(folder / MANIFEST)
    except OSError as error:
        raise _unreadable(folder) from error
    return parse_manifest(data, folder)


def parse_manifest(data: bytes, folder: Path | str) -> dict[str, Any]:
    """Return what a ``run.json`` that was read in ``folder`` says.

    Raises:
        RunError: it is none.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(folder) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("identity"), dict):
        raise RunError("holds no identity", file=f"{folder}/{MANIFEST}", fix="make a new run")
    cases = manifest["identity"].get(CASES, [])
    if not isinstance(cases, list) or not all(isinstance(case, str) for case in cases):
        raise RunError("is no list of ids", file=f"{folder}/{MANIFEST}", field=CASES, fix="make a new run")
    return manifest


def _unreadable(folder: Path | str) -> RunError:
    fix = "name another, or make one with harness run"
    return RunError("is not a run folder: run.json cannot be read", file=folder, fix=fix)


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of a run, the last one of every case and variant; a partial last line is passed over.

    Raises:
        RunError: a whole line is not a row, or the file cannot be read.
    """
    results = folder / RESULTS
    if not results.exists():
        return []
    with disk_errors_as(RunError, "cannot be read", file=results, fix="mend that, or take it out of the run"):
        data = read_results(results)
    return parse_rows(data, folder)


def read_results(results: Path) -> bytes:
    """Return what a ``results.jsonl`` holds.

    Raises:
        OSError: not readable, or no regular file: a pipe may never end.
    """
    return read_bytes(results, sys.maxsize)


def parse_rows(data: bytes, folder: Path | str) -> list[Row]:
    """Return the rows in a ``results.jsonl`` that was read in ``folder``, as ``read_rows`` does."""
    rows: dict[tuple[str, str], Row] = {}
    lines = data.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        with problems_as(RunError, Row, file=f"{folder}/{RESULTS}:{number}", fix=NO_ROW):
            row = Row.model_validate_json(line)
        rows[row.case, row.variant] = row
    return list(rows.values())


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Write ``rows`` as the run's results, atomically; hold ``locked`` around reading and writing them."""
    write_text(folder / RESULTS, "".join(row.model_dump_json() + "\n" for row in rows))
