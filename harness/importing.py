"""What every importer hands over, and how its case files get to disk: all of them, or none."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.case import (
    SCHEMA_FILE,
    SUFFIX,
    Base,
    Case,
    LoraRef,
    Preview,
    SampleSettings,
    Trained,
    load_case,
    save_case,
)
from harness.errors import JobError
from harness.files import sha256_file

if TYPE_CHECKING:
    import pandas as pd

PREVIEWS, LORAS = "previews", "loras"


@dataclass(frozen=True)
class Pairing:
    """What one preview was paired with.

    Attributes:
        preview: file name of the preview.
        step: training step; None where the source has none.
        index: position among the samples or prompts.
        lora: file name of the LoRA, None for the base model alone or a missing checkpoint.
        note: why there is no LoRA, or which rule chose it; why the preview cannot be re-run.
    """

    preview: str
    step: int | None
    index: int
    lora: str | None
    note: str


@dataclass(frozen=True)
class ImportResult:
    """The outcome of an import.

    Attributes:
        cases: the cases as saved, in the order of step and index.
        folder: where they lie.
        pairings: one per case, in the same order.
        assumptions: what holds for the whole import, in sentences.
    """

    cases: list[Case]
    folder: Path
    pairings: list[Pairing]
    assumptions: list[str]

    def frame(self) -> pd.DataFrame:
        """Return one row per case: pairing, settings, and why it is incomparable if it is."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "case": case.id,
                    "preview": pairing.preview,
                    "step": pairing.step,
                    "index": pairing.index,
                    "lora": pairing.lora,
                    "network_multiplier": case.lora.network_multiplier if case.lora else None,
                    **case.settings.model_dump(),
                    "note": pairing.note,
                    "incomparable": case.incomparable,
                }
                for case, pairing in zip(self.cases, self.pairings, strict=True)
            ]
        )


@dataclass(frozen=True)
class Draft:
    """A case whose preview and LoRA still lie where they were found.

    Attributes:
        stem: last part of the case's id and name of its file.
        image_size: (width, height) of the preview in pixels.
        preview_name: file name of the preview's copy; None keeps its own.
    """

    stem: str
    preview: Path
    image_size: tuple[int, int]
    step: int | None
    index: int
    lora: Path | None
    network_multiplier: float
    settings: SampleSettings
    trained: Trained
    preview_name: str | None = None
    note: str = ""
    incomparable: str | None = None
    assumptions: list[str] = field(default_factory=list)

    def pairing(self) -> Pairing:
        """Return the line that a user reads about this draft."""
        lora = self.lora.name if self.lora else None
        return Pairing(self.preview.name, self.step, self.index, lora, self.incomparable or self.note)


def safe_name(name: str) -> str:
    """Return ``name`` with everything that a case id may not hold replaced by ``_``."""
    cleaned = re.sub(r"[^\w.+ -]+", "_", name).strip()[:120].strip()
    return f"_{cleaned}" if not cleaned or cleaned in {".", ".."} or cleaned.startswith("-") else cleaned


def write_cases(drafts: Sequence[Draft], *, job: str, base: Base, out: Path) -> list[Case]:
    """Write the drafts as ``out/<stem>.case.yaml`` with copies in ``out/previews`` and ``out/loras``.

    Everything is built in a folder beside ``out`` and moved into place at the end. Cases of an earlier import
    of the same job are replaced; files of other kinds in ``out`` stay.

    Raises:
        JobError: ``out`` cannot be written, or is in use by something else than this job's cases.
    """
    out = out.absolute()
    _check_free(out, job)
    schema = f"../{SCHEMA_FILE}" if (out.parent / SCHEMA_FILE).is_file() else None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            staging.chmod(0o755)
            for draft in drafts:
                save_case(_case(draft, job, base, staging), staging / f"{draft.stem}{SUFFIX}", schema=schema)
            _install(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise JobError(
            f"cannot be written ({error.strerror or error})", file=out, fix="choose another folder with --out"
        ) from error
    return [load_case(out / f"{draft.stem}{SUFFIX}") for draft in drafts]


def _check_free(out: Path, job: str) -> None:
    if not out.exists():
        return
    fix = f"give another folder with --out, e.g. {out.parent / (out.name + '-2')}"
    if not out.is_dir():
        raise JobError("is a file, not a folder", file=out, fix=fix)
    if not any(out.iterdir()):
        return
    owners = {load_case(path).id.rpartition("/")[0] for path in out.glob(f"*{SUFFIX}")}
    if others := sorted(owners - {job}):
        raise JobError(f"holds cases of another job, {others[0]!r}", file=out, fix=fix)
    if not owners:
        raise JobError("is not empty and holds no cases", file=out, fix=fix)


def _case(draft: Draft, job: str, base: Base, folder: Path) -> Case:
    width, height = draft.image_size
    file, sha256 = _copy(draft.preview, folder / PREVIEWS, draft.preview_name)
    lora = None
    if draft.lora is not None:
        lora_file, lora_sha256 = _copy(draft.lora, folder / LORAS)
        lora = LoraRef(file=lora_file, sha256=lora_sha256, network_multiplier=draft.network_multiplier)
    return Case(
        id=f"{job}/{draft.stem}",
        base=base,
        preview=Preview(
            file=file, sha256=sha256, width=width, height=height, step=draft.step, index=draft.index
        ),
        lora=lora,
        settings=draft.settings,
        trained=draft.trained,
        incomparable=draft.incomparable,
        assumptions=draft.assumptions,
    )


def _copy(source: Path, folder: Path, name: str | None = None) -> tuple[str, str]:
    """Copy ``source`` into ``folder`` once and return its path from the case file and its SHA-256."""
    target = folder / (name or source.name)
    if not target.exists():
        folder.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
    return f"{folder.name}/{target.name}", sha256_file(target)


def _install(staging: Path, out: Path) -> None:
    if not out.exists():
        staging.replace(out)
        return
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old."))
    old = aside / out.name
    out.replace(old)
    try:
        staging.replace(out)
    except OSError:
        old.replace(out)
        raise
    for entry in old.iterdir():
        if entry.name not in {PREVIEWS, LORAS} and not entry.name.endswith(SUFFIX):
            entry.replace(out / entry.name)
    shutil.rmtree(aside)
