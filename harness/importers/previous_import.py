"""What earlier imports left in a folder of cases, and what a new import takes over from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import JobError
from harness.importers.draft import Draft, SourceFile
from harness.importers.file_record import RECORD, FileRecord
from harness.importers.staging import STAGING
from harness.schema.case import SUFFIX, Case, load_case

PREVIEWS, LORAS = "previews", "loras"

SET_BY_HAND = ("tolerance", "pipeline", "noise", "quantize", "t5_attention", "divisor")
"""Fields of a case that no importer sets; a new import takes them over."""

_IMPORTED_NAME = re.compile(r"[\d_]+")


def files_of(case: Case) -> dict[str, str]:
    """Return the SHA-256 of each file that a case refers to, by its path from the case."""
    loras = [case.lora, *(neighbour.lora for neighbour in case.neighbours)]
    return {file.file: file.sha256 for file in (case.preview, *loras) if file is not None}


@dataclass(frozen=True)
class PreviousImport:
    """The cases of the same job in ``folder`` by their files, imported ones and those made by hand."""

    folder: Path
    cases: Mapping[Path, Case]
    record: FileRecord

    @classmethod
    def read(cls, folder: Path, job: str, record: FileRecord) -> PreviousImport:
        """Read the cases; there are none in a folder that is missing, empty, or of an unfinished import.

        Raises:
            JobError: ``folder`` is in use by something else than this job's cases.
            CaseError: one of the cases cannot be read.
        """
        if not folder.exists():
            return cls(folder, {}, record)
        if not folder.is_dir():
            raise _in_use(folder, "is a file, not a folder")
        if _is_unfinished({path.name for path in folder.iterdir()}):
            return cls(folder, {}, record)
        cases = {path: load_case(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}
        if not cases:
            raise _in_use(folder, "is not empty and holds no cases")
        if others := sorted({case.job for case in cases.values()} - {job}):
            raise _in_use(folder, f"holds cases of another job, {others[0]!r}")
        return cls(folder, cases, record)

    def refuse_namesake(self, previews: Mapping[str, Path]) -> None:
        """Refuse the folder of another job that only has the same name: they share no preview.

        Args:
            previews: every preview of the new job, selected or not, by its name in the folder.

        Raises:
            JobError: names one preview of each.
        """
        old = [case.preview for case in self.cases.values()]
        for preview in old:
            source = previews.get(Path(preview.file).name)
            if source is not None and self.record.sha256(source) == preview.sha256:
                return
        if old:
            raise _in_use(
                self.folder,
                f"holds cases of another job of the same name: its {old[0].file} and the others are not "
                f"among the previews beside {next(iter(previews.values()))}",
            )

    def lora_copy(self, case: Case) -> SourceFile | None:
        """Return the copy of a case's LoRA, if it is there and unchanged."""
        if case.lora is None:
            return None
        path = self.folder / case.lora.file
        unchanged = path.is_file() and self.record.sha256(path) == case.lora.sha256
        return SourceFile(path, case.lora.sha256) if unchanged else None


def _is_unfinished(names: set[str]) -> bool:
    """Say whether a folder holds nothing but what a killed import writes before its cases."""
    staged = {name for name in names if name.startswith(STAGING)}
    return not names - staged - ({PREVIEWS, LORAS, RECORD} if staged else set())


def _in_use(folder: Path, found: str) -> JobError:
    other = folder.parent / (folder.name + "-2")
    return JobError(found, file=folder, fix=f"choose another folder, e.g. {other}")


@dataclass(frozen=True)
class MergedImport:
    """A new import merged with the previous one.

    Attributes:
        drafts: the new cases, each with its LoRA's copy of the previous import where the job lost the file.
        matches: the previous case of each draft, or None.
        retained: previous cases that no draft replaces.
        reserved: SHA-256 by path of the copies that must keep their names.
        notes: what was taken over, in sentences.
    """

    drafts: list[Draft]
    matches: list[Case | None]
    retained: list[Case]
    reserved: dict[str, str]
    notes: list[str]


def merge(drafts: Sequence[Draft], previous: PreviousImport) -> MergedImport:
    """Work out what of ``previous`` the import of ``drafts`` takes over."""
    cases = previous.cases.values()
    by_preview = {
        (case.preview.sha256, case.preview.step, case.preview.index): case
        for case in cases
        if _IMPORTED_NAME.fullmatch(case.name)
    }
    by_name = {case.name: case for case in cases}
    same = [by_preview.get((draft.preview.sha256, draft.step, draft.index)) for draft in drafts]
    merged = [_restore_lora(draft, case, previous) for draft, case in zip(drafts, same, strict=True)]
    matches = [case or by_name.get(draft.stem) for draft, case in zip(drafts, same, strict=True)]
    replaced = {draft.stem for draft in drafts} | {case.name for case in same if case is not None}
    retained = [case for case in cases if case.name not in replaced]
    restored = {
        case.lora.file: case.lora.sha256
        for old, new, case in zip(drafts, merged, same, strict=True)
        if new is not old and case is not None and case.lora is not None
    }
    reserved = {path: sha256 for case in retained for path, sha256 in files_of(case).items()} | restored
    edited = sum(case is not None and _is_edited(case) for case in matches)
    return MergedImport(merged, matches, retained, reserved, _notes(sorted(restored), edited, retained))


def _restore_lora(draft: Draft, case: Case | None, previous: PreviousImport) -> Draft:
    """Return ``draft`` with the previous copy of a LoRA that the job has lost, if there is one."""
    if not draft.lora_gone or case is None or (lora := previous.lora_copy(case)) is None:
        return draft
    trained = draft.trained.model_copy(update={"software": draft.trained.software or case.trained.software})
    note = "the copy of the previous import"
    return replace(draft, lora=lora, neighbours=(), incomparable=None, note=note, trained=trained)


def _is_edited(case: Case) -> bool:
    changed = any(getattr(case, name) != Case.model_fields[name].default for name in SET_BY_HAND)
    return changed or case.base.revision is not None


def _notes(loras: Sequence[str], edited: int, retained: Sequence[Case]) -> list[str]:
    notes = []
    if loras:
        names = ", ".join(Path(file).name for file in loras)
        notes.append(f"LoRAs that the job no longer has are kept from the previous import: {names}")
    if edited:
        fields = ", ".join((*SET_BY_HAND, "the revision of the same base"))
        which = "1 case file keeps" if edited == 1 else f"{edited} case files keep"
        notes.append(f"{which} what was set in them by hand, of these: {fields}")
    if retained:
        steps = sorted({case.preview.step for case in retained if case.preview.step is not None})
        which = f"step {', '.join(map(str, steps))}" if steps else ", ".join(case.name for case in retained)
        notes.append(f"previous cases that were not imported now are kept: {len(retained)} of {which}")
    return notes
