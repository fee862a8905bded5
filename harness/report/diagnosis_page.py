"""The page of one diagnosis: the pictures of each step of its path, the ladder of distance, the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from harness.report.diagnoses import FOLDER, SavedDiagnosis
from harness.report.formatting import slug
from harness.schema.result import REFERENCE


@dataclass(frozen=True)
class Rung:
    """One step of the path.

    Attributes:
        name: the changed settings, or whose picture it is.
        href: address of its picture.
        distance: root mean square difference from the preview, 0 to 255, in words.
        share: the same as a share of the farthest step, 0 to 1; None for the preview itself.
    """

    name: str
    href: str
    distance: str
    share: float | None


@dataclass(frozen=True)
class DiagnosisPage:
    """What the page shows."""

    slug: str
    case_slug: str
    saved: SavedDiagnosis
    rungs: tuple[Rung, ...]


def diagnosis_slug(case: str) -> str:
    """Return the name of a case's diagnosis page; no row's page can have it."""
    return f"{slug(case, REFERENCE)}~diagnosis"


def diagnosis_page(saved: SavedDiagnosis) -> DiagnosisPage:
    """Return the page of a diagnosis whose pictures were saved with it."""
    farthest = max((step.distance or 0.0 for step in saved.path), default=0.0)
    rungs = tuple(
        Rung(
            step.settings,
            f"../{FOLDER}/{quote(step.picture or '')}",
            "" if step.distance is None else f"{step.distance:.2f} of 255",
            step.distance / farthest if step.distance is not None and farthest else None,
        )
        for step in saved.path
    )
    return DiagnosisPage(diagnosis_slug(saved.case), slug(saved.case, REFERENCE), saved, rungs)
