"""Diagnoses in a run folder, saved as ``diagnosis/*.json``, to be shown with their cases.

Made by ``harness diagnose CASE --json reports/NAME/diagnosis/ANY.json``. Of a folder of cases the file holds
a list: of jobs whose previews were diagnosed together, or of the static findings of each case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import Field, RootModel

from harness._util.atomic_files import read_bytes
from harness.errors import HarnessError
from harness.report.formatting import plain
from harness.report.saved_answers import SavedAnswer, read_answer, read_answers
from harness.schema.result import Finding

FOLDER = "diagnosis"


class SavedCause(SavedAnswer):
    """One ranked cause."""

    axis: str
    value: bool | int | float | str
    reference_value: bool | int | float | str | None = None
    gap_closed: float
    ssim: float | None = None
    lpips: float | None = None


class SavedStep(SavedAnswer):
    """One step from the re-run to the preview.

    Attributes:
        settings: the changed settings, or whose picture it is.
        distance: root mean square difference from the preview, 0 to 255; None for the preview itself.
        picture: path from the file's folder.
    """

    settings: str
    distance: float | None = None
    picture: str | None = None


class SavedDiagnosis(SavedAnswer):
    """What a diagnosis says about one case.

    Attributes:
        together: what a diagnosis of the whole job found for the case, in words; empty where it was
            diagnosed alone.
    """

    case: str
    together: str = ""
    composition: str = ""
    findings: tuple[Finding, ...] = ()
    causes: tuple[SavedCause, ...] = ()
    explained: bool | None = None
    renders: int = 0
    recipe: str = ""
    rivals: tuple[str, ...] = ()
    not_tried: dict[str, str] = Field(default_factory=dict)
    path: tuple[SavedStep, ...] = ()

    @property
    def summary(self) -> str:
        """The result in words."""
        if self.together:
            return self.together
        if self.explained is None:
            return "Static findings only; nothing was rendered."
        picture = {"same": "the same picture, drawn differently", "different": "another picture"}
        shown = picture.get(self.composition, self.composition)
        cause = "These settings explain the drift." if self.explained else "Nothing tried explains the drift."
        return f"{cause} The re-run shows {shown}. {self.renders} renders were made."


class _Member(SavedAnswer):
    """One preview of a job whose previews were diagnosed together."""

    case: str
    settings: dict[str, bool | int | float | str | None]
    explained: bool

    @property
    def summary(self) -> str:
        changed = ", ".join(f"{name} = {plain(value)}" for name, value in self.settings.items())
        found = f"This explains the drift: {changed}." if changed else "The case's own settings explain it."
        return (
            f"{found if self.explained else 'Nothing tried explains the drift.'} "
            "The job's previews were diagnosed together."
        )


class _Listed(SavedAnswer):
    """A case's static findings, or a job's diagnosis."""

    case: str | None = None
    findings: tuple[Finding, ...] = ()
    first: SavedDiagnosis | None = None
    members: tuple[_Member, ...] = ()

    @property
    def diagnoses(self) -> Iterator[SavedDiagnosis]:
        """Yield what it says of each case, the one that was searched last."""
        if self.case is not None:
            yield SavedDiagnosis(case=self.case, findings=self.findings)
        for member in self.members:
            yield SavedDiagnosis(case=member.case, together=member.summary, explained=member.explained)
        if self.first is not None:
            yield self.first


class _List(RootModel[tuple[_Listed, ...]]):
    """What a diagnosis of a folder of cases says."""


_FIX = "diagnose again, or remove it"


def read_diagnoses(folder: Path, damaged: list[HarnessError] | None = None) -> dict[str, SavedDiagnosis]:
    """Return the diagnoses in a run folder, by case; of several of one case the last by file name.

    Args:
        damaged: takes what is wrong with each file that is no diagnosis; None raises the first one.

    Raises:
        RunError: a file is not a diagnosis.
    """
    answers = read_answers(folder / FOLDER, _read, damaged)
    return {diagnosis.case: diagnosis for _, found in answers for diagnosis in found}


def _read(path: Path) -> list[SavedDiagnosis]:
    with suppress(OSError):
        if read_bytes(path).lstrip().startswith(b"["):
            return [each for listed in read_answer(path, _List, _FIX).root for each in listed.diagnoses]
    return [read_answer(path, SavedDiagnosis, _FIX)]
