"""Writing an import's case files and copies into their folder: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness._util.atomic_files import disk_errors_as, write_new
from harness._util.real_paths import real_path
from harness._util.validation import first_problem
from harness.errors import CaseError, JobError
from harness.importers.copies import Copies
from harness.importers.draft import Draft, ImportResult, SourceFile
from harness.importers.file_record import FileRecord
from harness.importers.previous_import import (
    LORAS,
    PREVIEWS,
    SET_BY_HAND,
    MergedImport,
    PreviousImport,
    files_of,
    merge,
)
from harness.importers.staging import install, staging
from harness.schema.base import Base
from harness.schema.case import SCHEMA_FILE, SUFFIX, Case, load_case, save_case, schema_line
from harness.schema.case_parts import LoraRef, Neighbour, Preview
from harness.schema.case_text import CaseTexts


def write_cases(
    drafts: Sequence[Draft],
    *,
    job: str,
    base: Base,
    out: Path,
    previews: Mapping[str, Path],
    assumptions: Iterable[str] = (),
    record: FileRecord | None = None,
) -> ImportResult:
    """Write the drafts as ``out/<stem>.case.yaml`` with copies in ``out/previews`` and ``out/loras``.

    Everything is built in a hidden folder inside ``out``, read back, and then moved into place. A previous
    import of the job keeps its cases of other previews, its copies of LoRAs that the job has lost, and what
    was set by hand.

    Args:
        previews: every preview of the job by the name of its copy, to recognize another job of the same name.
        assumptions: what the importer assumed for all drafts.
        record: what is remembered of files; None reads that of ``out``.

    Raises:
        JobError: ``out`` cannot be written, is in use by something else than this job's cases or leads
            elsewhere by a link in it, or a case cannot be written so that it reads back.
        CaseError: a case of a previous import cannot be read.
    """
    out = real_path(out)
    _refuse_links_out(out)
    record = record or FileRecord(out)
    with disk_errors_as(JobError, "cannot be written", file=out, fix="choose another folder for the cases"):
        previous = PreviousImport.read(out, job, record)
        previous.refuse_namesake(previews)
        merged = merge(drafts, previous)
        with staging(out) as staged:
            copies = Copies(staged, out, merged.reserved, record)
            cases = _stage(merged, copies, job, base)
            install(staged, out)
        for path, sha256 in copies.new.items():
            record.remember(out / path, own=True, sha256=sha256)
        record.save()
        _remove_unused(previous, cases, merged.retained)
    return ImportResult(
        cases,
        out,
        [draft.pairing() for draft in merged.drafts],
        [*assumptions, *merged.notes],
    )


def _refuse_links_out(out: Path) -> None:
    """Refuse to write through a link to elsewhere: no run would take a preview or a LoRA from there.

    Raises:
        JobError: names the link.
    """
    for name in (PREVIEWS, LORAS):
        if not real_path(out / name).is_relative_to(out):
            fix = "put the folder itself there; all of the cases may lie elsewhere"
            raise JobError("leads out of the folder of cases by a link", file=out / name, fix=fix)


def _stage(merged: MergedImport, copies: Copies, job: str, base: Base) -> list[Case]:
    """Return every case at its place; those that are new or changed are staged, and checked to read back."""
    schema = f"../{SCHEMA_FILE}" if (copies.folder.parent / SCHEMA_FILE).is_file() else None
    texts = CaseTexts()
    cases = []
    for draft, match in zip(merged.drafts, merged.matches, strict=True):
        name = f"{draft.stem}{SUFFIX}"
        try:
            case = _case(draft, match, copies, job, base).at(copies.folder / name)
            cases.append(case)
            if match != case:
                _save(case, copies.staged / name, schema, texts)
        except (CaseError, ValidationError, UnicodeError) as error:
            raise _unwritable(draft, error) from error
    return cases


def _save(case: Case, path: Path, schema: str | None, texts: CaseTexts) -> None:
    """Write a case that reads back unchanged.

    Raises:
        CaseError: it does not.
    """
    if (text := texts.of(case)) is not None:
        write_new(path, schema_line(schema).encode() + text)
        return
    save_case(case, path, schema=schema, lasting=False)
    load_case(path)  # says why, where it is refused
    raise CaseError("it does not read back unchanged")


def _unwritable(draft: Draft, error: CaseError | ValidationError | UnicodeError) -> JobError:
    name, found = None, error.found if isinstance(error, CaseError) else str(error)
    if isinstance(error, ValidationError):
        name, found, _ = first_problem(error, Case)
    found = f"its settings make no case file that can be read back ({found})"
    fix = "look for control characters in its prompt"
    return JobError(found, file=draft.preview.path, field=name, fix=fix)


def _case(draft: Draft, match: Case | None, copies: Copies, job: str, base: Base) -> Case:
    width, height = draft.image_size
    file, sha256 = copies.add(draft.preview, PREVIEWS, draft.preview_name)

    def lora(source: SourceFile | None) -> LoraRef | None:
        if source is None:
            return None
        file, sha256 = copies.add(source, LORAS)
        return LoraRef(file=file, sha256=sha256, network_multiplier=draft.network_multiplier)

    return Case(
        id=f"{job}/{draft.stem}",
        model=draft.model,
        base=_pinned(base, match),
        preview=Preview(
            file=file,
            sha256=sha256,
            width=width,
            height=height,
            step=draft.step,
            index=draft.index,
            older_config=draft.older_config,
        ),
        lora=lora(draft.lora),
        neighbours=[Neighbour(step=step, lora=lora(source)) for step, source in draft.neighbours],
        settings=draft.settings,
        trained=draft.trained,
        incomparable=draft.incomparable,
        encoder_dtype=draft.encoder_dtype,
        quantize_exclude=list(draft.quantize_exclude),
        assumptions=draft.assumptions,
        **({name: getattr(match, name) for name in SET_BY_HAND} if match is not None else {}),
    )


def _pinned(base: Base, match: Case | None) -> Base:
    """Return ``base`` with the revision that the previous case pinned, where none is given now."""
    same_repo = match is not None and base.repo is not None and match.base.repo == base.repo
    return match.base if match is not None and same_repo and base.revision is None else base


def _remove_unused(previous: PreviousImport, cases: Sequence[Case], retained: Sequence[Case]) -> None:
    """Delete previous case files that were replaced under other names, and files that no case refers to."""
    keep = {previous.folder / f"{case.name}{SUFFIX}" for case in cases}
    keep |= {previous.folder / path for case in (*cases, *retained) for path in files_of(case)}
    retained_ids = {case.id for case in retained}
    for file, case in previous.cases.items():
        unused = {previous.folder / path for path in files_of(case)} - keep
        if file not in keep and case.id not in retained_ids:
            unused.add(file)
        for path in unused:
            path.unlink(missing_ok=True)
