"""Diagnose one case: findings, controls, the search, ranked causes, the recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.diagnosis.composition import Composition, correlation
from harness.diagnosis.script import recipe
from harness.diagnosis.search import MIN_GAIN, Search, Tell, search
from harness.diagnosis.step_zero import StepZero, ask_step_zero, step_zero
from harness.diagnosis.trials import Trial, TrialRenderer
from harness.errors import CaseError
from harness.judging.findings import static_findings
from harness.metrics.scores import Scores
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.schema.render import Renderer
from harness.schema.result import Finding
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context
from harness.sweeps.axis_values import Value

BUDGET = 120.0
"""Renders of the case's own length that a diagnosis may spend."""
MAX_ALTERNATIVES = 5


@dataclass(frozen=True)
class Cause:
    """One setting that brings the re-run nearer to the preview.

    Attributes:
        value: what the preview was rendered with; a number where it is one.
        reference_value: what the case recorded.
        gap_closed: share of the distance to the preview that is gone, 0 to 1, with the causes before it.
        before: codec-matched scores without it; None for another size.
        after: with it.
    """

    axis: str
    value: Value
    reference_value: Value
    gap_closed: float
    before: Scores | None
    after: Scores | None


@dataclass(frozen=True)
class Diagnosis:
    """What explains a preview's drift.

    Attributes:
        composition: whether the case's own re-run shows the preview's picture.
        correlation: the statistic that says so, -1 to 1; None for another size.
        floor: distance that no setting can remove, and what it was measured from.
        causes: accepted ones, best first, each with those before it; where nothing explains the preview,
            the best single settings instead.
        nearer_without_lora: the LoRA-off render is nearer to the preview; None without a LoRA.
        step_zero: what the step-0 preview of the same job says; None where there is none.
        renders: renders that called the transformer, whole or in part.
        spent: their transformer calls, in those of the case's own render.
    """

    case: Case
    findings: list[Finding]
    composition: Composition
    correlation: float | None
    floor: dict[str, Any]
    causes: list[Cause]
    explained: bool
    nearer_without_lora: bool | None
    step_zero: StepZero | None
    renders: int
    spent: float
    recipe: str

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        return {
            "case": self.case.id,
            "composition": self.composition,
            "correlation": self.correlation,
            "floor": self.floor,
            "findings": [asdict(finding) for finding in self.findings],
            "causes": [_cause_json(cause) for cause in self.causes],
            "explained": self.explained,
            "nearer_without_lora": self.nearer_without_lora,
            "step_zero": self.step_zero.to_json() if self.step_zero else None,
            "renders": self.renders,
            "spent": round(self.spent, 2),
            "recipe": self.recipe,
        }


def diagnose(
    case: Case,
    *,
    options: RunOptions | None = None,
    renderer: Renderer | None = None,
    budget: float = BUDGET,
    tell: Tell = lambda _: None,
) -> Diagnosis:
    """Find the settings that bring ``case``'s preview back.

    Where the step-0 preview of the same job lies in the case's folder, it is asked first.

    Args:
        budget: renders of the case's own length to spend at most, on the case and on its step-0 preview.
        tell: called with one line as the search goes on.

    Raises:
        CaseError: the case says that its preview cannot be re-run, or a file of it changed.
        HarnessError: base, LoRA or device cannot be used.
    """
    from harness.metrics.lpips import Lpips
    from harness.pipeline.load import choose_device
    from harness.runs.plan import Planned
    from harness.runs.preflight import preflight
    from harness.runs.workers import reference_renderer

    options = options or RunOptions()
    if case.incomparable is not None:
        raise CaseError(
            f"{case.id} cannot be re-run: {case.incomparable}", fix="harness diagnose --static explains it"
        )
    device = choose_device(options.device)
    context = Context(case, request_of(case, options, device), device)
    preflight([Planned(case, context.request)], options)
    own = renderer or reference_renderer(options, device)
    try:
        trials = TrialRenderer(context, own)
        if (sibling := step_zero(case)) is None:
            return _diagnosis(case, trials, search(trials, budget, tell), None, Lpips(options.lpips_weights))
        there = Context(sibling, request_of(sibling, options, device), device)
        control = ask_step_zero(TrialRenderer(there, own), budget, tell)
        left = budget - control.spent
        cleared = control.matches or bool(control.settings)
        found = search(trials, left, tell, start=control.settings, lora_first=cleared)
        return _diagnosis(case, trials, found, control, Lpips(options.lpips_weights))
    finally:
        if renderer is None:
            own.close()


def _diagnosis(
    case: Case, trials: TrialRenderer, found: Search, control: StepZero | None, lpips: Any
) -> Diagnosis:
    reference = found.reference
    shown = found.path or _alternatives(found)
    best = found.path[-1] if found.path else reference
    sized = reference.image.shape == trials.preview.shape
    return Diagnosis(
        case=case,
        findings=static_findings(case),
        composition=trials.composition(reference),
        correlation=round(correlation(trials.preview, reference.image), 4) if sized else None,
        floor={
            "rms": round(found.floor, 4),
            "source": "1.5 times what another attention kernel changes, codec-matched, 0 to 255",
        },
        causes=_causes(trials, found, shown, lpips),
        explained=found.explained,
        nearer_without_lora=_lora_off(trials, reference),
        step_zero=control,
        renders=trials.renders + (control.renders if control else 0),
        spent=trials.spent + (control.spent if control else 0.0),
        recipe=recipe(case, best.request, best.rendered.dtype),
    )


def _alternatives(found: Search) -> list[Trial]:
    """Return the best single settings for a preview that nothing explains."""
    limit = (1 - MIN_GAIN) * found.reference.distance
    return [trial for trial in found.singles if trial.distance < limit][:MAX_ALTERNATIVES]


def _causes(trials: TrialRenderer, found: Search, shown: list[Trial], lpips: Any) -> list[Cause]:
    causes: list[Cause] = []
    before = found.reference
    for trial in shown:
        causes += [
            Cause(
                axis=name,
                value=AXES[name].read(trials.context, trial.request),
                reference_value=AXES[name].read(trials.context, trials.context.request),
                gap_closed=_gap_closed(trials, found.reference, trial),
                before=trials.scores(before, lpips),
                after=trials.scores(trial, lpips),
            )
            for name in trial.settings
            if name not in before.settings
        ]
        if found.path:
            before = trial
    return causes


def _gap_closed(trials: TrialRenderer, reference: Trial, trial: Trial) -> float:
    """Return the share of the distance that is gone; for another size, of that of unrelated pictures."""
    whole = min(reference.distance, 2**0.5 * float(trials.preview.std()))
    return round(max(0.0, 1 - trial.distance / whole), 4) if whole else 1.0


def _lora_off(trials: TrialRenderer, reference: Trial) -> bool | None:
    if trials.context.request.lora is None:
        return None
    return trials.trial({"lora_mode": "none"}).distance < reference.distance


def _cause_json(cause: Cause) -> dict[str, Any]:
    after, before = cause.after, cause.before
    return {
        "axis": cause.axis,
        "value": cause.value,
        "reference_value": cause.reference_value,
        "gap_closed": cause.gap_closed,
        "ssim": after.ssim if after else None,
        "lpips": after.lpips if after else None,
        "psnr": after.psnr if after else None,
        "ssim_before": before.ssim if before else None,
        "lpips_before": before.lpips if before else None,
    }
