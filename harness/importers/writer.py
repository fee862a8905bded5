"""Writing an import's case files and copies into their folder: all of them, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from harness._util.atomic_files import sha256_file
from harness._util.validation import first_problem
from harness.errors import CaseError, JobError
from harness.importers.draft import Draft, ImportResult
from harness.importers.previous_import import (
    HAND_SET,
    LORAS,
    PREVIEWS,
    STAGING,
    Earlier,
    Kept,
    files_of,
    keep,
    stem_of,
)
from harness.schema.case import SCHEMA_FILE, SUFFIX, Base, Case, LoraRef, Preview, load_case, save_case


def write_cases(
    drafts: Sequence[Draft],
    *,
    job: str,
    base: Base,
    out: Path,
    previews: Mapping[str, Path],
    assumptions: Iterable[str] = (),
) -> ImportResult:
    """Write the drafts as ``out/<stem>.case.yaml`` with copies in ``out/previews`` and ``out/loras``.

    Everything is built in a hidden folder inside ``out``, read back, and then moved into place. Of an earlier
    import stay: cases of previews that are not among the drafts, copies of LoRAs that the job has lost, and
    fields that were set by hand.

    Args:
        previews: every preview of the job, by the name of its copy; tells the job from a namesake.
        assumptions: what the importer assumed for all drafts.

    Raises:
        JobError: ``out`` cannot be written, is in use by something else than this job's cases, or a case
            cannot be written so that it reads back.
        CaseError: a case of an earlier import cannot be read.
    """
    out = Path(os.path.realpath(out))
    try:
        earlier = Earlier.read(out, job)
        earlier.refuse_namesake(previews)
        kept = keep(drafts, earlier)
        with _staging(out) as staged:
            cases = _stage(kept, _Copies(staged, out, kept.held), job, base)
            _install(staged, out)
        _remove_unused(earlier, cases, kept.stay)
    except OSError as error:
        raise JobError(
            f"cannot be written ({error.strerror or error})", file=out, fix="choose another folder with --out"
        ) from error
    return ImportResult(
        [load_case(out / f"{draft.stem}{SUFFIX}") for draft in kept.drafts],
        out,
        [draft.pairing() for draft in kept.drafts],
        [*assumptions, *kept.notes],
    )


def _stage(kept: Kept, copies: _Copies, job: str, base: Base) -> list[Case]:
    """Write the case files into the staging folder and make sure that each one reads back."""
    schema = f"../{SCHEMA_FILE}" if (copies.folder.parent / SCHEMA_FILE).is_file() else None
    cases = []
    for draft, match in zip(kept.drafts, kept.matches, strict=True):
        path = copies.staged / f"{draft.stem}{SUFFIX}"
        try:
            case = save_case(_case(draft, match, copies, job, base), path, schema=schema)
            if load_case(path) != case:
                raise CaseError("it reads back as something else")
        except (CaseError, ValidationError, UnicodeError) as error:
            raise _unwritable(draft, error) from error
        cases.append(case)
    return cases


def _unwritable(draft: Draft, error: CaseError | ValidationError | UnicodeError) -> JobError:
    name, found = None, error.found if isinstance(error, CaseError) else str(error)
    if isinstance(error, ValidationError):
        name, found, _ = first_problem(error, Case)
    return JobError(
        f"its settings make no case file that can be read back ({found})",
        file=draft.preview,
        field=name,
        fix="look for control characters in its prompt",
    )


def _case(draft: Draft, match: Case | None, copies: _Copies, job: str, base: Base) -> Case:
    width, height = draft.image_size
    file, sha256 = copies.add(draft.preview, PREVIEWS, draft.preview_name)
    lora = None
    if draft.lora is not None:
        lora_file, lora_sha256 = copies.add(draft.lora, LORAS)
        lora = LoraRef(file=lora_file, sha256=lora_sha256, network_multiplier=draft.network_multiplier)
    return Case(
        id=f"{job}/{draft.stem}",
        base=_pinned(base, match),
        preview=Preview(
            file=file, sha256=sha256, width=width, height=height, step=draft.step, index=draft.index
        ),
        lora=lora,
        settings=draft.settings,
        trained=draft.trained,
        incomparable=draft.incomparable,
        assumptions=draft.assumptions,
        **({name: getattr(match, name) for name in HAND_SET} if match is not None else {}),
    )


def _pinned(base: Base, match: Case | None) -> Base:
    """Return ``base`` with the revision that the earlier case pinned, where none is given now."""
    same_repo = match is not None and base.repo is not None and match.base.repo == base.repo
    return match.base if match is not None and same_repo and base.revision is None else base


def _remove_unused(earlier: Earlier, cases: Sequence[Case], stay: Sequence[Case]) -> None:
    """Delete the case files that were replaced under other names, and what no case refers to any more."""
    written = {earlier.folder / f"{stem_of(case)}{SUFFIX}" for case in cases}
    stay_ids = {case.id for case in stay}
    used = {earlier.folder / path for case in (*cases, *stay) for path in files_of(case)}
    for file, case in earlier.cases.items():
        if file not in written and case.id not in stay_ids:
            file.unlink(missing_ok=True)
        for path in files_of(case):
            if earlier.folder / path not in used:
                (earlier.folder / path).unlink(missing_ok=True)


@dataclass
class _Copies:
    """Copies of previews and LoRAs, staged only where the folder does not hold the same bytes.

    Attributes:
        taken: SHA-256 by path of the files that stay; another file of that name gets its hash in its name.
    """

    staged: Path
    folder: Path
    taken: dict[str, str]
    _known: dict[Path, tuple[str, str]] = field(default_factory=dict)

    def add(self, source: Path, subfolder: str, name: str | None = None) -> tuple[str, str]:
        """Return the path of the copy from the case file, and its SHA-256."""
        if source not in self._known:
            self._known[source] = self._add(source, subfolder, name or source.name)
        return self._known[source]

    def _add(self, source: Path, subfolder: str, name: str) -> tuple[str, str]:
        sha256 = sha256_file(source)
        path = f"{subfolder}/{name}"
        if self.taken.get(path, sha256) != sha256:
            path = f"{subfolder}/{Path(name).stem}_{sha256[:8]}{Path(name).suffix}"
        self.taken[path] = sha256
        present = self.folder / path
        if not present.is_file() or sha256_file(present) != sha256:
            (self.staged / subfolder).mkdir(exist_ok=True)
            shutil.copyfile(source, self.staged / path)
        return path, sha256


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give a hidden folder inside ``folder``, removed at the end like those of killed imports.

    A ``folder`` that was made for it and stayed empty is removed too.
    """
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        staged = Path(tempfile.mkdtemp(dir=folder, prefix=STAGING))
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    finally:
        if created and not any(folder.iterdir()):
            folder.rmdir()


def _install(staged: Path, folder: Path) -> None:
    """Move every staged file to its place in ``folder``, case files last, or put everything back.

    Raises:
        OSError: a file could not be moved; ``folder`` is as it was.
    """
    files = sorted((path for path in staged.rglob("*") if path.is_file()), key=_case_files_last)
    backups = Path(tempfile.mkdtemp(dir=staged))
    with ExitStack() as undo:
        for number, path in enumerate(files):
            target, backup = folder / path.relative_to(staged), backups / str(number)
            target.parent.mkdir(exist_ok=True)
            if target.is_file():
                shutil.copyfile(target, backup)
            path.replace(target)
            undo.callback(_put_back, target, backup)
        undo.pop_all()


def _case_files_last(path: Path) -> tuple[bool, str]:
    return path.name.endswith(SUFFIX), str(path)


def _put_back(target: Path, backup: Path) -> None:
    if backup.exists():
        backup.replace(target)
    else:
        target.unlink()
