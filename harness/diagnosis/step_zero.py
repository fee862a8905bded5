"""The step-0 preview of a job as a control: it says where a cause cannot lie.

Before training a LoRA does nothing, so a job's step-0 preview shows the base model under the job's settings.
If its re-run is identical, noise, schedule and numerics are cleared and the LoRA is asked first; if not, what
makes it identical is found without a LoRA's arithmetic in the way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.diagnosis.conclusion import Search
from harness.diagnosis.search import Tell, search
from harness.diagnosis.search_progress import ALONE
from harness.diagnosis.trials import Settings, TrialRenderer
from harness.errors import CaseError
from harness.schema.case import SUFFIX, Case, load_case


@dataclass(frozen=True)
class StepZero:
    """What the step-0 preview of the same job and prompt says.

    Attributes:
        case: id of its case.
        rms: root mean square difference of its re-run under the case's settings, 0 to 255; None for another
            size.
        floor: what equally valid kernels make of it; None where it was not measured.
        matches: it is identical, so that only the LoRA can explain the case's preview.
        near: it is within the floor, which alone clears nothing.
        settings: what makes it identical, or explains it, otherwise; empty where nothing does.
        nearest: the one setting that leaves little of it where nothing explains it; else empty.
        proven: ``settings`` make it identical.
        spent: what asking it cost, as ``TrialRenderer`` counts.
        renders: likewise.
    """

    case: str
    rms: float | None
    floor: float | None
    matches: bool
    near: bool
    settings: Settings
    nearest: Settings
    proven: bool
    spent: float
    renders: int

    @property
    def cleared(self) -> bool:
        """Whether all but the LoRA is known, with ``settings`` where there are some."""
        return self.matches or self.proven

    @property
    def is_inexact(self) -> bool:
        """Whether it is explained and nothing made it identical: another machine rendered the preview."""
        return not self.cleared and (self.near or bool(self.settings))

    def to_json(self) -> dict[str, Any]:
        """Return what the documented JSON object says of it."""
        hidden = {"spent", "renders"}
        return {name: value for name, value in asdict(self).items() if name not in hidden}


_TAKEN_OVER = ("noise", "quantize", "t5_attention", "divisor")


def step_zero(case: Case) -> Case | None:
    """Return the case of the step-0 preview of the same job, prompt and settings, or None.

    It lies in the folder of ``case`` and takes over what a fix may have changed there. A preview that is
    older than its config is no control.
    """
    if case.file is None or case.lora is None:
        return None
    for file in sorted(case.folder.glob(f"*{SUFFIX}")):
        try:
            other = load_case(file)
        except CaseError:
            continue  # another case's mistake is not this one's
        if _is_step_zero(other, case):
            return other.model_copy(update={name: getattr(case, name) for name in _TAKEN_OVER})
    return None


def _is_step_zero(other: Case, case: Case) -> bool:
    return (
        other.preview.step == 0
        and other.lora is None
        and other.incomparable is None
        and other.preview.older_config is None
        and other.preview.index == case.preview.index
        and other.preview.older_config == case.preview.older_config
        and (other.base, other.settings, other.trained) == (case.base, case.settings, case.trained)
    )


def ask_step_zero(trials: TrialRenderer, budget: float, tell: Tell) -> StepZero:
    """Re-run a step-0 preview, and search what makes it identical where it is not."""
    tell(f"control: the step-0 preview {trials.context.case.id}")
    found = search(trials, budget, tell)
    own = found.reference
    sized = own.image.shape == trials.preview.shape
    last = found.path[-1] if found.path and found.explained else None
    return StepZero(
        case=trials.context.case.id,
        rms=round(own.distance, 4) if sized else None,
        floor=None if found.floor is None else round(found.floor, 4),
        matches=own.distance == 0,
        near=found.explained and last is None,
        settings=dict(last.settings) if last else {},
        nearest=_nearest(found),
        proven=last is not None and last.distance == 0,
        spent=trials.spent,
        renders=trials.renders,
    )


def _nearest(found: Search) -> Settings:
    if found.explained or not found.path or found.path[0].distance > ALONE * found.reference.distance:
        return {}
    return dict(found.path[0].settings)
