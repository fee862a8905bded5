"""What a diagnosis says, as typed values and as the documented JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.diagnosis.composition import Composition
from harness.diagnosis.step_zero import StepZero
from harness.metrics.scores import Scores
from harness.schema.case import Case
from harness.schema.result import Finding
from harness.sweeps.axis_values import Value


@dataclass(frozen=True)
class Cause:
    """One setting that brings the re-run nearer to the preview.

    Attributes:
        value: what the preview was rendered with; a number where it is one.
        reference_value: what the case recorded.
        gap_closed: share of the distance to the preview that is gone, 0 to 1, with the causes before it.
        before: codec-matched scores without it; None for another size.
        after: with it.
        distance: root mean square difference from the preview with it, 0 to 255, codec-matched.
        next_best: the nearest render without it, in words.
        next_distance: how far that one is; None where there is none of the preview's size.
    """

    axis: str
    value: Value
    reference_value: Value
    gap_closed: float
    before: Scores | None
    after: Scores | None
    distance: float = 0.0
    next_best: str = ""
    next_distance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        after, before = self.after, self.before
        return {
            "axis": self.axis,
            "value": self.value,
            "reference_value": self.reference_value,
            "gap_closed": self.gap_closed,
            "ssim": after.ssim if after else None,
            "lpips": after.lpips if after else None,
            "psnr": after.psnr if after else None,
            "ssim_before": before.ssim if before else None,
            "lpips_before": before.lpips if before else None,
            "distance": self.distance,
            "next_best": self.next_best,
            "next_distance": self.next_distance,
        }


@dataclass(frozen=True)
class Step:
    """One picture on the way from the case's own render to the preview.

    Attributes:
        settings: the changed settings in words; of the last picture ``the preview``.
        distance: root mean square from the preview, codec-matched, 0 to 255; None for another size.
        image: uint8, H×W×3.
    """

    settings: str
    distance: float | None
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Diagnosis:
    """What explains a preview's drift.

    Attributes:
        composition: whether the case's own re-run shows the preview's picture.
        correlation: the statistic that says so, -1 to 1; None for another size, or without a render.
        floor: distance that no setting can remove, and what it was measured from; None where nothing came
            near enough to measure one.
        causes: accepted ones, best first, each with those before it; where nothing explains the preview,
            the best single settings instead.
        explained: the preview is identical to a re-run, or within the floor.
        identical: the re-run with all causes is the preview, pixel by pixel, after its codec.
        rivals: other settings that explain the preview as well within the floor: cannot be told apart.
        nearer_without_lora: of all renders the one without a LoRA is nearest; None without a LoRA.
        step_zero: what the step-0 preview of the same job says; None where there is none.
        tried: how many values of each axis were rendered.
        not_tried: values that were not rendered, with the reason.
        renders: renders that called the transformer, whole or in part.
        spent: their transformer calls, in those of the case's own render.
        path: the case's own render, each accepted cause, and the preview, for the report.
    """

    case: Case
    findings: list[Finding]
    composition: Composition
    correlation: float | None
    floor: Mapping[str, Any]
    causes: list[Cause]
    explained: bool
    identical: bool
    rivals: list[str]
    nearer_without_lora: bool | None
    step_zero: StepZero | None
    tried: Mapping[str, int]
    not_tried: Mapping[str, str]
    renders: int
    spent: float
    recipe: str
    path: tuple[Step, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        return {
            **vars(self),
            "case": self.case.id,
            "floor": dict(self.floor),
            "findings": [asdict(finding) for finding in self.findings],
            "causes": [cause.to_json() for cause in self.causes],
            "step_zero": self.step_zero.to_json() if self.step_zero else None,
            "tried": dict(self.tried),
            "not_tried": dict(self.not_tried),
            "spent": round(self.spent, 2),
            "path": [{"settings": step.settings, "distance": step.distance} for step in self.path],
        }
