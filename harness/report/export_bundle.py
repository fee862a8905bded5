"""Writing a mismatch bundle; ``harness.importers.bundle`` says what it holds, and reads it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import zipfile
from contextlib import suppress
from pathlib import Path

from harness._util.atomic_files import disk_errors_as, sha256_file, write_bytes
from harness._util.mixed_up_files import why_no_file
from harness._util.words import id_hint, some
from harness.errors import BundleError, LoraError, RunError
from harness.importers.bundle import CASE, FORMAT, INDEX, README, ROW, Contents, inner_name
from harness.report.comparisons import FOLDER, read_comparisons
from harness.runs.folder import refuse_links
from harness.runs.run_files import MANIFEST, read_manifest, read_rows
from harness.schema.case import Case
from harness.schema.result import REFERENCE, Row


def find_run(case: str, reports: Path = Path("reports")) -> Path:
    """Return the newest run under ``reports`` that holds a row of ``case``; damaged runs are passed over.

    Raises:
        RunError: there is none.
    """
    runs: list[tuple[str, Path]] = []
    for path in reports.glob(f"*/{MANIFEST}"):
        with suppress(RunError):
            runs.append((str(read_manifest(path.parent).get("created", "")), path.parent))
    ids: set[str] = set()
    for _, folder in sorted(runs, reverse=True):
        with suppress(RunError):
            ids |= (found := {row.case for row in read_rows(folder)})
            if case in found:
                return folder
    fix = f"{id_hint(case, ids)}, or name the run with --run"
    raise RunError(f"no run holds a case {case!r}", file=reports, fix=fix)


def write_bundle(
    run: str | os.PathLike[str],
    case: str,
    *,
    variant: str = REFERENCE,
    out: str | os.PathLike[str],
    lora: str | os.PathLike[str] | None = None,
) -> Path:
    """Write one row of a run as a zip file; the same row always gives the same bytes.

    Args:
        lora: the LoRA's file, to be included; its hash must be the case's.

    Raises:
        RunError: not a run, or no such row.
        BundleError: the row's preview is gone, or the file cannot be written.
        LoraError: ``lora`` is not the case's LoRA.
    """
    run = Path(run)
    out = Path(out)
    lora = None if lora is None else Path(lora)
    read_manifest(run)
    refuse_links(run)
    rows = {(row.case, row.variant): row for row in read_rows(run)}
    row = rows.get((case, variant))
    if row is None:
        known = {variant for each, variant in rows if each == case}
        fix = f"its variants are {some(known)}" if known else id_hint(case, {each for each, _ in rows})
        raise RunError(f"no row of case {case!r}, variant {variant!r}", file=run, fix=fix)
    files = _files(run, row, lora)
    contents = Contents(
        format=FORMAT, files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in {INDEX: contents.model_dump_json(indent=1).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    with disk_errors_as(BundleError, "cannot be written", file=out):
        write_bytes(out, stream.getvalue())
    return out


def _files(run: Path, row: Row, lora: Path | None) -> dict[str, bytes]:
    preview = run / row.images.preview
    if not preview.is_file() or sha256_file(preview) != row.description.preview.sha256:
        raise BundleError("is missing or is not the case's preview", file=preview, fix="run the case again")
    files = {
        CASE: row.description.model_dump_json(indent=1, exclude_none=True).encode(),
        ROW: row.model_dump_json(indent=1).encode(),
        README: _readme(row).encode(),
        inner_name(row.description.preview.file): preview.read_bytes(),
    }
    pictures = {"rerun": row.images.rerun, **row.images.maps}
    for name, path in pictures.items():
        if path is not None and (run / path).is_file():
            files[f"images/{name}{Path(path).suffix}"] = (run / path).read_bytes()
    for stored in read_comparisons(run, []).get(row.case, []):
        for file in ((run / FOLDER / stored.page).with_suffix(suffix) for suffix in (".html", ".json")):
            if file.is_file():
                files[f"{FOLDER}/{file.name}"] = file.read_bytes()
    if lora is not None:
        files[inner_name(_lora_of(row.description, lora))] = lora.read_bytes()
    return files


def _lora_of(case: Case, lora: Path) -> str:
    """Return the case's name for a LoRA file, after making sure that it is the same file."""
    if case.lora is None:
        raise LoraError("the case has no LoRA to include", file=lora, fix="leave --with-lora out")
    if not lora.is_file():
        raise LoraError(why_no_file(lora), file=lora, field="--with-lora", fix="name the case's LoRA")
    if sha256_file(lora) != case.lora.sha256:
        raise LoraError("is not the case's LoRA: its hash differs", file=lora, field="--with-lora")
    return case.lora.file


def _readme(row: Row) -> str:
    name = row.description.name
    run = f"harness run {shlex.quote(f'cases/{name}')} --out {shlex.quote(f'reports/{name}')}"
    if row.rendered is not None:
        run += (
            f" --device {row.rendered.device} --pipeline {row.rendered.pipeline} --dtype {row.rendered.dtype}"
        )
    lora = row.description.lora
    needs = f"LoRA: SHA-256 {lora.sha256}, {Path(lora.file).name}\n" if lora else ""
    return (
        f"{row.case}, {row.variant}: {row.verdict}\n{row.reason}\n\n"
        f"harness import BUNDLE.zip --out {shlex.quote(f'cases/{name}')}\n{run}\n\n"
        f"Base: {row.description.base}\n{needs}"
        f"Environment: {json.dumps(row.environment, sort_keys=True, ensure_ascii=False)}\n"
    )
