"""Diagnoses in a run folder, saved as ``diagnosis/*.json``, to be shown with their cases.

Made by ``harness diagnose CASE --json reports/NAME/diagnosis/ANY.json``.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness._util.validation import read_model
from harness.errors import RunError
from harness.schema.result import Finding

FOLDER = "diagnosis"


class SavedAnswer(BaseModel):
    """What a file in a run folder says; what the report does not show of it is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


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
    findings: list[Finding] = []
    causes: list[SavedCause] = []
    explained: bool | None = None
    renders: int = 0
    recipe: str = ""
    rivals: list[str] = []
    not_tried: dict[str, str] = {}
    path: list[SavedStep] = []

    @property
    def summary(self) -> str:
        """The result in words."""
        if self.explained is None:
            return "Static findings only; nothing was rendered."
        picture = {"same": "the same picture, drawn differently", "different": "another picture"}
        shown = picture.get(self.composition, self.composition)
        cause = "These settings explain the drift." if self.explained else "Nothing tried explains the drift."
        return f"{cause} The re-run shows {shown}. {self.renders} renders were made."


def read_diagnoses(folder: Path) -> dict[str, SavedDiagnosis]:
    """Return the diagnoses in a run folder, by case; of several of one case the last by file name.

    Raises:
        RunError: a file is not a diagnosis.
    """
    found = (
        read_model(path, SavedDiagnosis, RunError, fix="diagnose again, or remove it")
        for path in sorted((folder / FOLDER).glob("*.json"))
    )
    return {diagnosis.case: diagnosis for diagnosis in found}
