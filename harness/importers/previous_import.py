"""What earlier imports left in a folder of cases, and what a new import keeps of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness._util.atomic_files import sha256_file
from harness.errors import JobError
from harness.importers.draft import Draft
from harness.schema.case import SUFFIX, Case, load_case

STAGING = ".harness-import-"
"""How the hidden folder begins in which an import is put together; a killed one leaves it behind."""

PREVIEWS, LORAS = "previews", "loras"

HAND_SET = ("tolerance", "pipeline", "noise", "quantize")
"""Fields of a case that no importer sets: they outlive an import."""

_IMPORTED = re.compile(r"[\d_]+")


def stem_of(case: Case) -> str:
    """Return the last part of a case's id, which is also the name of its file."""
    return case.id.rpartition("/")[2]


@dataclass(frozen=True)
class Earlier:
    """The cases of the same job in ``folder``, by their files: imported ones and those made by hand."""

    folder: Path
    cases: Mapping[Path, Case]

    @classmethod
    def read(cls, folder: Path, job: str) -> Earlier:
        """Read them.

        Raises:
            JobError: ``folder`` is in use by something else than this job's cases.
            CaseError: one of the cases cannot be read.
        """
        if not folder.exists():
            return cls(folder, {})
        if not folder.is_dir():
            raise JobError("is a file, not a folder", file=folder, fix=elsewhere(folder))
        if _is_unfinished({path.name for path in folder.iterdir()}):
            return cls(folder, {})
        cases = {path: load_case(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}
        owners = {case.id.rpartition("/")[0] for case in cases.values()}
        if others := sorted(owners - {job}):
            raise JobError(f"holds cases of another job, {others[0]!r}", file=folder, fix=elsewhere(folder))
        if not owners:
            raise JobError("is not empty and holds no cases", file=folder, fix=elsewhere(folder))
        return cls(folder, cases)

    def refuse_namesake(self, previews: Mapping[str, Path]) -> None:
        """Refuse the folder of another job that only has the same name: no preview of it is one of ours.

        Args:
            previews: every preview of the job, selected or not, by its name in the folder.

        Raises:
            JobError: names one preview of each.
        """
        theirs = [case.preview for case in self.cases.values()]
        for preview in theirs:
            source = previews.get(Path(preview.file).name)
            if source is not None and sha256_file(source) == preview.sha256:
                return
        if theirs:
            raise JobError(
                f"holds cases of another job of the same name: its {theirs[0].file} and the others are not "
                f"among the previews beside {next(iter(previews.values()))}",
                file=self.folder,
                fix=elsewhere(self.folder),
            )

    def imported(self) -> list[Case]:
        """Return the cases that an importer made: their names hold digits alone."""
        return [case for case in self.cases.values() if _IMPORTED.fullmatch(stem_of(case))]

    def lora_copy(self, case: Case) -> Path | None:
        """Return the copy of an earlier case's LoRA, if it is there and still what the case recorded."""
        path = self.folder / case.lora.file if case.lora is not None else None
        if path is None or case.lora is None or not path.is_file() or sha256_file(path) != case.lora.sha256:
            return None
        return path


def _is_unfinished(names: set[str]) -> bool:
    """Say whether a folder holds nothing, or nothing but what a killed import puts there before its cases."""
    staged = {name for name in names if name.startswith(STAGING)}
    return not names - staged - ({PREVIEWS, LORAS} if staged else set())


def elsewhere(folder: Path) -> str:
    """Return the advice to import into another folder."""
    return f"choose another folder, e.g. {folder.parent / (folder.name + '-2')}"


def preview_key(case: Case) -> tuple[str, int | None, int | None]:
    """Return what tells one preview of a job from all others: hash, step, index."""
    return case.preview.sha256, case.preview.step, case.preview.index


def files_of(case: Case) -> dict[str, str]:
    """Return the SHA-256 of each file that a case refers to, by its path from the case."""
    files = {case.preview.file: case.preview.sha256}
    return files if case.lora is None else files | {case.lora.file: case.lora.sha256}


@dataclass(frozen=True)
class Kept:
    """What a new import keeps.

    Attributes:
        drafts: the new cases, each with the LoRA that only the earlier import has, where that is so.
        matches: the earlier case of each draft, or None.
        stay: earlier cases that no draft replaces.
        held: SHA-256 by path of the files that must keep their names.
        notes: the same in sentences.
    """

    drafts: list[Draft]
    matches: list[Case | None]
    stay: list[Case]
    held: dict[str, str]
    notes: list[str]


def keep(drafts: Sequence[Draft], earlier: Earlier) -> Kept:
    """Work out what of ``earlier`` outlives the import of ``drafts``."""
    keys = [(sha256_file(draft.preview), draft.step, draft.index) for draft in drafts]
    by_preview = {preview_key(case): case for case in earlier.imported()}
    by_stem = {stem_of(case): case for case in earlier.cases.values()}
    same = [by_preview.get(key) for key in keys]
    kept = [_with_lora(draft, case, earlier) for draft, case in zip(drafts, same, strict=True)]
    matches = [case or by_stem.get(draft.stem) for draft, case in zip(drafts, same, strict=True)]
    replaced = {draft.stem for draft in drafts} | {stem_of(case) for case in same if case is not None}
    stay = [case for case in earlier.cases.values() if stem_of(case) not in replaced]
    held = {path: sha256 for case in stay for path, sha256 in files_of(case).items()}
    revived = [
        case.lora
        for old, new, case in zip(drafts, kept, same, strict=True)
        if new is not old and case is not None and case.lora is not None
    ]
    held |= {lora.file: lora.sha256 for lora in revived}
    by_hand = sum(case is not None and _set_by_hand(case) for case in matches)
    return Kept(kept, matches, stay, held, _notes({lora.file for lora in revived}, by_hand, stay))


def _with_lora(draft: Draft, same: Case | None, earlier: Earlier) -> Draft:
    """Return ``draft`` with the earlier copy of a LoRA that the job has lost, if there is one."""
    if not draft.lora_gone or same is None or (lora := earlier.lora_copy(same)) is None:
        return draft
    software = draft.trained.software or same.trained.software
    return replace(
        draft,
        lora=lora,
        incomparable=None,
        note="kept from the earlier import",
        trained=draft.trained.model_copy(update={"software": software}),
    )


def _set_by_hand(case: Case) -> bool:
    changed = any(getattr(case, name) != Case.model_fields[name].default for name in HAND_SET)
    return changed or case.base.revision is not None


def _notes(loras: set[str], by_hand: int, stay: Sequence[Case]) -> list[str]:
    notes = []
    if loras:
        names = ", ".join(Path(file).name for file in sorted(loras))
        notes.append(f"LoRAs that the job no longer has are kept from the earlier import: {names}")
    if by_hand:
        fields = ", ".join((*HAND_SET, "the revision of the same base"))
        notes.append(f"what the case files set of these is kept ({by_hand} of them do): {fields}")
    if stay:
        steps = sorted({case.preview.step for case in stay if case.preview.step is not None})
        which = f"step {', '.join(map(str, steps))}" if steps else ", ".join(map(stem_of, stay))
        notes.append(f"cases that were there and were not imported now are kept: {len(stay)} of {which}")
    return notes
