"""Reading a mismatch bundle: one zip file with a case, its images, scores and environment.

bundle.json     format, names and SHA-256 of every other file
case.json       the case; its paths name files under ``case/``
case/…          the preview, and the LoRA where it was asked for
row.json        verdict, scores, settings as rendered, environment
images/…        the re-run and the maps
comparison/…    pages and JSON of inference images that were compared with the preview
README.txt      the commands that replay it
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from harness._util.atomic_files import disk_errors_as, write_bytes
from harness._util.real_paths import real_path
from harness._util.validation import first_problem
from harness.errors import BundleError, CaseError
from harness.schema.case import SUFFIX, Case, save_case
from harness.schema.case_parts import LoraRef, Preview
from harness.schema.fields import Sha256, Strict

FORMAT = "harness-bundle/1"
INDEX, CASE, ROW, README = "bundle.json", "case.json", "row.json", "README.txt"

MAX_FILES = 64
MAX_TEXT, MAX_IMAGE, MAX_LORA = 8 << 20, 256 << 20, 8 << 30
"""Most bytes of a file that are unpacked, whatever size the zip states."""

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
        missing_lora: where to put the LoRA that the bundle leaves out; None where nothing is missing.
        replay: the commands that replay the bundle, from its README.
    """

    case: Case
    missing_lora: Path | None
    replay: str


def inner_name(file: str) -> str:
    """Return the name inside the zip of a file that the case names."""
    return f"case/{file}"


def import_bundle(path: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None) -> Unpacked:
    """Restore the case of a bundle; nothing is written unless all of it can be.

    Only files that the case names are read, by their names in the zip, and written below ``out``.

    Args:
        out: folder for the case; None: ``cases/<the case's job>``.

    Raises:
        BundleError: not a bundle, damaged, too large, or at odds with its own hashes.
        CaseError: ``out`` holds something else than cases, or another case or file of the same name.
    """
    path = Path(path)
    out = None if out is None else Path(out)
    try:
        with zipfile.ZipFile(path) as archive:
            reader = _Reader(archive, path)
            case = Case.model_validate_json(reader.text(CASE))
            files = {case.preview.file: reader.member(case.preview, MAX_IMAGE)}
            if case.lora is not None and inner_name(case.lora.file) in reader.hashes:
                files[case.lora.file] = reader.member(case.lora, MAX_LORA)
            replay = reader.text(README).decode("utf-8", "replace")
    except ValidationError as error:
        field, found, fix = first_problem(error, Case)
        raise BundleError(found, file=path, field=field, fix=fix or "make the bundle again") from error
    except _BROKEN as error:
        raise BundleError(f"cannot be read ({error})", file=path, fix="get it again") from error
    return _save(case, files, out or Path("cases") / (case.job or case.id), replay)


class _Reader:
    """Reads the files of one bundle; every one of them must have the hash that ``bundle.json`` lists."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self.hashes = Contents.model_validate_json(self._unpack(INDEX, MAX_TEXT)).files

    def member(self, ref: Preview | LoraRef, limit: int) -> bytes:
        data = self._listed(inner_name(ref.file), limit)
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise self._error(inner_name(ref.file), "is not the file that the case names")
        return data

    def text(self, name: str) -> bytes:
        return self._listed(name, MAX_TEXT)

    def _listed(self, name: str, limit: int) -> bytes:
        if name not in self.hashes:
            raise self._error(name, "is not listed in the bundle", "make the bundle again")
        data = self._unpack(name, limit)
        if hashlib.sha256(data).hexdigest() != self.hashes[name]:
            raise self._error(name, "was changed after the bundle was made", "get it again")
        return data

    def _unpack(self, name: str, limit: int) -> bytes:
        """Return a file of the zip, at most ``limit`` bytes; the sizes that the zip states may be wrong."""
        try:
            info = self._archive.getinfo(name)
        except KeyError as error:
            fix = "of a job in a zip, give the unpacked folder" if name == INDEX else None
            raise self._error(name, "is missing: not a bundle", fix) from error
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._error(name, "is packed in a way that bundles are not")
        if info.file_size > max(MAX_RATIO * info.compress_size, 1 << 16):
            raise self._error(name, "unpacks to far more than a bundle's files do")
        with self._archive.open(info) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise self._error(name, f"is larger than {limit >> 20} MiB")
        return data

    def _error(self, name: str, found: str, fix: str | None = None) -> BundleError:
        return BundleError(found, file=self._path, field=name, fix=fix)


def _save(case: Case, files: dict[str, bytes], out: Path, replay: str) -> Unpacked:
    target = out / f"{case.id.rpartition('/')[2]}{SUFFIX}"
    fix = "give another folder with --out"
    if target.exists():
        raise CaseError("exists already", file=target, fix=fix)
    if _is_foreign(out, case):
        raise CaseError("is not empty and holds no cases", file=out, fix=fix)
    for name, data in files.items():
        if not real_path(out / name).is_relative_to(real_path(out)):
            raise CaseError("leads out of its folder by a link", file=out / name, fix=fix)
        if (out / name).exists() and (out / name).read_bytes() != data:
            raise CaseError("exists and is another file", file=out / name, fix=fix)
    with disk_errors_as(CaseError, "cannot be written", file=out, fix=fix):
        for name, data in files.items():
            write_bytes(out / name, data)
        saved = save_case(case, target)
    missing = out / case.lora.file if case.lora is not None and case.lora.file not in files else None
    return Unpacked(saved, missing, replay)


def _is_foreign(out: Path, case: Case) -> bool:
    """Say whether a folder holds something else than cases, or than what a killed import leaves."""
    if not out.is_dir() or any(out.glob(f"*{SUFFIX}")):
        return False
    files = [file.file for file in (case.preview, case.lora) if file is not None]
    ours = {Path(file).parts[0] for file in files}
    return any(not entry.name.startswith(".") and entry.name not in ours for entry in out.iterdir())
