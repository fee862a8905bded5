"""Diagnoses that lie in a run folder, as ``diagnosis/*.json``, to be shown with their cases.

Made by ``harness diagnose CASE --json reports/NAME/diagnosis/ANY.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness._util.atomic_files import read_bytes
from harness._util.validation import first_problem
from harness.errors import RunError
from harness.report.formatting import number, percent, plain
from harness.schema.result import Finding

FOLDER = "diagnosis"


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Cause(_Read):
    axis: str
    value: bool | int | float | str
    reference_value: bool | int | float | str | None = None
    gap_closed: float
    ssim: float | None = None
    lpips: float | None = None


class _Diagnosis(_Read):
    case: str
    composition: str = ""
    findings: list[Finding] = []
    causes: list[_Cause] = []
    explained: bool | None = None
    renders: int = 0
    recipe: str = ""


@dataclass(frozen=True)
class CauseLine:
    """One ranked cause, in words."""

    axis: str
    value: str
    recorded: str
    gap_closed: str
    ssim: str
    lpips: str


@dataclass(frozen=True)
class DiagnosisView:
    """What a diagnosis says about one case."""

    summary: str
    findings: tuple[Finding, ...]
    causes: tuple[CauseLine, ...]
    recipe: str


def read_diagnoses(folder: Path) -> dict[str, DiagnosisView]:
    """Return the diagnoses in a run folder, by case; of several of one case the last by file name.

    Raises:
        RunError: a file is not a diagnosis.
    """
    found = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        read = _read(path)
        found[read.case] = _view(read)
    return found


def _read(path: Path) -> _Diagnosis:
    try:
        return _Diagnosis.model_validate_json(read_bytes(path))
    except OSError as error:
        raise RunError(f"cannot be read ({error.strerror or error})", file=path) from error
    except ValidationError as error:
        field, what, fix = first_problem(error, _Diagnosis)
        raise RunError(what, file=path, field=field, fix=fix or "diagnose again, or remove it") from error


def _view(read: _Diagnosis) -> DiagnosisView:
    return DiagnosisView(
        summary=_summary(read),
        findings=tuple(read.findings),
        causes=tuple(
            CauseLine(
                axis=each.axis,
                value=plain(each.value),
                recorded=plain(each.reference_value),
                gap_closed=percent(each.gap_closed),
                ssim=number(each.ssim, 4),
                lpips=number(each.lpips, 4),
            )
            for each in read.causes
        ),
        recipe=read.recipe,
    )


def _summary(read: _Diagnosis) -> str:
    if read.explained is None:
        return "Static findings only; nothing was rendered."
    picture = {"same": "the same picture, drawn differently", "different": "another picture"}
    shown = picture.get(read.composition, read.composition)
    found = "These settings explain the drift." if read.explained else "Nothing tried explains the drift."
    return f"{found} The re-run shows {shown}. {read.renders} renders were made."
