"""Diagnoses in a run folder, saved as ``diagnosis/*.json``, to be shown with their cases.

Made by ``harness diagnose CASE --json reports/NAME/diagnosis/ANY.json``.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from harness.errors import HarnessError
from harness.report.saved_answers import SavedAnswer, read_answers
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
    """What a diagnosis says about one case."""

    case: str
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
        if self.explained is None:
            return "Static findings only; nothing was rendered."
        picture = {"same": "the same picture, drawn differently", "different": "another picture"}
        shown = picture.get(self.composition, self.composition)
        cause = "These settings explain the drift." if self.explained else "Nothing tried explains the drift."
        return f"{cause} The re-run shows {shown}. {self.renders} renders were made."


def read_diagnoses(folder: Path, damaged: list[HarnessError] | None = None) -> dict[str, SavedDiagnosis]:
    """Return the diagnoses in a run folder, by case; of several of one case the last by file name.

    Args:
        damaged: takes what is wrong with each file that is no diagnosis; None raises the first one.

    Raises:
        RunError: a file is not a diagnosis.
    """
    fix = "diagnose again, or remove it"
    found = read_answers(folder / FOLDER, SavedDiagnosis, fix=fix, damaged=damaged)
    return {diagnosis.case: diagnosis for _, diagnosis in found}
