"""A mismatch in one zip file: the case, its images, scores and environment, and how to replay it elsewhere.

bundle.json     format, names and SHA-256 of every other file
case.json       the case; its paths name files under ``case/``
case/…          the preview, and the LoRA where it was asked for
row.json        verdict, scores, settings as rendered, environment
images/…        the re-run and the maps
README.txt      the commands that replay it
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from harness._util.atomic_files import sha256_file, write_bytes
from harness._util.validation import first_problem
from harness.errors import BundleError, CaseError, LoraError, RunError
from harness.runs.folder import MANIFEST, read_manifest, read_rows, refuse_links
from harness.runs.plan import REFERENCE
from harness.schema.case import SUFFIX, Case, Sha256, Strict, save_case
from harness.schema.result import Row

FORMAT = "harness-bundle/1"
INDEX, CASE, ROW, README = "bundle.json", "case.json", "row.json", "README.txt"

MAX_FILES = 64
MAX_TEXT = 8 * 1024 * 1024
MAX_IMAGE = 256 * 1024 * 1024
MAX_LORA = 8 * 1024 * 1024 * 1024
"""Bytes; more than this is not read from a bundle, whatever the zip says about itself."""

MAX_RATIO = 50
"""Most bytes that one byte of the zip may become: images and weights hardly shrink, and text not so much."""

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Python's zip reader raises on broken files; ``RuntimeError`` on encrypted ones."""


class Contents(Strict):
    """What ``bundle.json`` says."""

    format: str = Field(pattern=f"^{FORMAT}$")
    files: dict[str, Sha256] = Field(max_length=MAX_FILES)


@dataclass(frozen=True)
class Unpacked:
    """What came out of a bundle.

    Attributes:
        case: the case as saved.
        missing_lora: where the LoRA belongs that was not in the bundle; None if nothing is missing.
        replay: the commands that the bundle names.
    """

    case: Case
    missing_lora: Path | None
    replay: str


def find_run(case: str, reports: Path = Path("reports")) -> Path:
    """Return the newest run under ``reports`` that holds a row of ``case``.

    Raises:
        RunError: there is none.
    """
    folders = [path.parent for path in reports.glob(f"*/{MANIFEST}")]
    newest = sorted(folders, key=lambda folder: str(read_manifest(folder).get("created", "")), reverse=True)
    for folder in newest:
        if any(row.case == case for row in read_rows(folder)):
            return folder
    raise RunError(f"no run holds a case {case!r}", file=reports, fix="name the run with --run")


def write_bundle(
    run: Path, case: str, *, variant: str = REFERENCE, out: Path, lora: Path | None = None
) -> Path:
    """Write one row of a run as a zip file; the same row always gives the same bytes.

    Args:
        lora: the LoRA's file, to be included; its hash must be the case's.

    Raises:
        RunError: not a run, or no such row.
        BundleError: the row's preview is gone, or the file cannot be written.
        LoraError: ``lora`` is not the case's LoRA.
    """
    read_manifest(run)
    refuse_links(run)
    row = next((row for row in read_rows(run) if (row.case, row.variant) == (case, variant)), None)
    if row is None:
        raise RunError(
            f"no row of case {case!r}, variant {variant!r}", file=run, fix="see its report for ids"
        )
    files = _files(run, row, lora)
    contents = Contents(
        format=FORMAT, files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in {INDEX: contents.model_dump_json(indent=1).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    try:
        write_bytes(out, stream.getvalue())
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror or error})", file=out) from error
    return out


def import_bundle(path: Path, *, out: Path | None = None) -> Unpacked:
    """Make the case of a bundle again; nothing is written unless all of it can be.

    Only files that the case names are read, by their names in the zip, and written below ``out``.

    Args:
        out: folder for the case; None: ``cases/<the case's job>``.

    Raises:
        BundleError: not a bundle, damaged, too large, or at odds with its own hashes.
        CaseError: ``out`` holds another case or file of the same name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contents = Contents.model_validate_json(_read(archive, path, INDEX, MAX_TEXT))
            case = Case.model_validate_json(_checked(archive, path, contents, CASE, MAX_TEXT))
            files = {case.preview.file: _member(archive, path, contents, case.preview, MAX_IMAGE)}
            if case.lora is not None and _name(case.lora.file) in contents.files:
                files[case.lora.file] = _member(archive, path, contents, case.lora, MAX_LORA)
            replay = _checked(archive, path, contents, README, MAX_TEXT).decode("utf-8", "replace")
    except ValidationError as error:
        field, found, fix = first_problem(error, Case)
        raise BundleError(found, file=path, field=field, fix=fix or "make the bundle again") from error
    except _BROKEN as error:
        raise BundleError(f"cannot be read ({error})", file=path, fix="get it again") from error
    return _save(case, files, out or Path("cases") / (case.id.rpartition("/")[0] or case.id), replay)


def _files(run: Path, row: Row, lora: Path | None) -> dict[str, bytes]:
    preview = run / row.images.preview
    if not preview.is_file() or sha256_file(preview) != row.description.preview.sha256:
        raise BundleError("is missing or is not the case's preview", file=preview, fix="run the case again")
    files = {
        CASE: row.description.model_dump_json(indent=1, exclude_none=True).encode(),
        ROW: row.model_dump_json(indent=1).encode(),
        README: _readme(row).encode(),
        _name(row.description.preview.file): preview.read_bytes(),
    }
    pictures = {"rerun": row.images.rerun, **row.images.maps}
    for name, path in pictures.items():
        if path is not None and (run / path).is_file():
            files[f"images/{name}{Path(path).suffix}"] = (run / path).read_bytes()
    if lora is not None:
        files[_name(_lora_of(row.description, lora))] = lora.read_bytes()
    return files


def _lora_of(case: Case, lora: Path) -> str:
    """Return the case's name for a LoRA file, after making sure that it is the same file."""
    if case.lora is None:
        raise LoraError("the case has no LoRA to include", file=lora, fix="leave --with-lora out")
    if not lora.is_file():
        raise LoraError("does not exist", file=lora, field="--with-lora")
    if sha256_file(lora) != case.lora.sha256:
        raise LoraError("is not the case's LoRA: its hash differs", file=lora, field="--with-lora")
    return case.lora.file


def _readme(row: Row) -> str:
    name = row.case.rpartition("/")[2]
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


def _name(inner: str) -> str:
    """Return the name inside the zip of a file that the case names."""
    return f"case/{inner}"


def _member(archive: zipfile.ZipFile, path: Path, contents: Contents, ref: object, limit: int) -> bytes:
    file, sha256 = str(getattr(ref, "file", "")), getattr(ref, "sha256", "")
    data = _checked(archive, path, contents, _name(file), limit)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError("is not the file that the case names", file=path, field=_name(file))
    return data


def _checked(archive: zipfile.ZipFile, path: Path, contents: Contents, name: str, limit: int) -> bytes:
    expected = contents.files.get(name)
    if expected is None:
        raise BundleError("is not listed in the bundle", file=path, field=name, fix="make the bundle again")
    data = _read(archive, path, name, limit)
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError("was changed after the bundle was made", file=path, field=name, fix="get it again")
    return data


def _read(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    """Read a file of the zip, never more than ``limit`` bytes: what the zip says of sizes may be a lie."""
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise BundleError("is missing: not a bundle", file=path, field=name) from error
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError("is packed in a way that bundles are not", file=path, field=name)
    if info.file_size > max(MAX_RATIO * info.compress_size, 1 << 16):
        raise BundleError("unpacks to far more than a bundle's files do", file=path, field=name)
    with archive.open(info) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise BundleError(f"is larger than {limit >> 20} MiB", file=path, field=name)
    return data


def _save(case: Case, files: dict[str, bytes], out: Path, replay: str) -> Unpacked:
    target = out / f"{case.id.rpartition('/')[2]}{SUFFIX}"
    if target.exists():
        raise CaseError("exists already", file=target, fix="give another folder with --out")
    for name, data in files.items():
        if not (out / name).resolve().is_relative_to(out.resolve()):
            raise CaseError("leads out of its folder by a link", file=out / name, fix="give another --out")
        if (out / name).exists() and (out / name).read_bytes() != data:
            raise CaseError(
                "exists and is another file", file=out / name, fix="give another folder with --out"
            )
    try:
        for name, data in files.items():
            write_bytes(out / name, data)
        saved = save_case(case, target)
    except OSError as error:
        raise CaseError(
            f"cannot be written ({error.strerror or error})", file=out, fix="give another folder with --out"
        ) from error
    missing = out / case.lora.file if case.lora is not None and case.lora.file not in files else None
    return Unpacked(saved, missing, replay)
