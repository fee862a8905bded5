"""Diagnose one case: findings, controls, the search, ranked causes, the recipe."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from harness._util.words import size_text
from harness.diagnosis.answer import Cause, Diagnosis, Step
from harness.diagnosis.beginning import MIN_GAIN
from harness.diagnosis.composition import correlation
from harness.diagnosis.conclusion import Search
from harness.diagnosis.factors import left_out
from harness.diagnosis.identity import same_but_rounding
from harness.diagnosis.recipe import recipe
from harness.diagnosis.search import Tell, search
from harness.diagnosis.step_zero import StepZero, ask_step_zero, step_zero
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, words
from harness.errors import CaseError
from harness.judging.findings import static_findings
from harness.metrics.lpips import Lpips
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.schema.render import Renderer
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context

BUDGET = 120.0
"""Renders of the case's own length that a diagnosis may spend."""
CONTROL_SHARE = 0.2
"""Share of the budget that the step-0 preview may spend."""
MAX_ALTERNATIVES = 5
FLAT = "flat"
"""The static finding of a preview that holds nothing to search for."""


def diagnose(
    case: Case,
    *,
    options: RunOptions | None = None,
    renderer: Renderer | None = None,
    budget: float = BUDGET,
    tell: Tell = lambda _: None,
) -> Diagnosis:
    """Find the settings that bring ``case``'s preview back.

    The static findings are told first. Where the step-0 preview of the same job lies in the case's folder, it
    is asked next. A case that is incomparable because of its checkpoint is diagnosed with that one.

    Args:
        budget: renders of the case's own length, on the case and on its step-0 preview, after which no more
            begin; estimates and what measures a floor are ended.
        tell: called with one line as the search goes on.

    Raises:
        CaseError: the case says that its preview cannot be re-run, or a file of it changed.
        HarnessError: base, LoRA or device cannot be used.
    """
    with diagnoser([case], options, renderer, budget, tell) as made:
        return made.diagnose(case)


@contextmanager
def diagnoser(
    cases: list[Case], options: RunOptions | None, renderer: Renderer | None, budget: float, tell: Tell
) -> Iterator[Diagnoser]:
    """Check ``cases``, and open one renderer to diagnose them with.

    Raises:
        CaseError, HarnessError: as ``diagnose``.
    """
    from harness.runs.session import open_renderer

    options = options or RunOptions()
    for case in cases:
        if case.incomparable is not None and case.lora is None:
            raise CaseError(
                f"{case.id} cannot be re-run: {case.incomparable}",
                fix="harness diagnose --static explains it",
            )
    with open_renderer(cases, options, renderer) as (device, made):
        yield Diagnoser(options, made, device, budget, tell)


@dataclass
class Diagnoser:
    """Diagnoses cases with one renderer."""

    options: RunOptions
    renderer: Renderer
    device: str
    budget: float
    tell: Tell
    lpips: Lpips = field(init=False)

    def __post_init__(self) -> None:
        self.lpips = Lpips(self.options.lpips_weights)

    def trials(self, case: Case) -> TrialRenderer:
        """Return what renders the trials of ``case``."""
        context = Context(case, request_of(case, self.options, self.device), self.device)
        return TrialRenderer(context, self.renderer)

    def diagnose(self, case: Case, start: Settings = MappingProxyType({})) -> Diagnosis:
        """Diagnose ``case``; ``start`` are settings that explain others of its job."""
        findings = static_findings(case)
        trials = self.trials(case)
        if any(finding.id == FLAT for finding in findings):
            return _unsearched(trials, "the preview is one flat colour, which no setting explains")
        if (why := _out_of_reach(trials)) is not None:
            return _unsearched(trials, why)
        control, cleared = None, False
        if not start and (sibling := step_zero(case)) is not None:
            control = ask_step_zero(self.trials(sibling), CONTROL_SHARE * self.budget, self.tell)
            start, cleared = control.settings, control.cleared
        left = self.budget - (control.spent if control else 0.0)
        elsewhere = control is not None and control.is_inexact
        nearest = control.nearest if control else {}
        found = search(
            trials, left, self.tell, start=start, nearest=nearest, cleared=cleared, elsewhere=elsewhere
        )
        return _answer(trials, found, control, self.lpips)


def _out_of_reach(trials: TrialRenderer) -> str | None:
    """Say why no setting but its size brings the preview back; None where a divisor gives its size."""
    case = trials.context.case
    asked, shown = (case.settings.width, case.settings.height), case.preview.size
    divisors = [int(value) for value in AXES["divisor"].candidates(trials.context)]
    if shown in {(asked[0] // each * each, asked[1] // each * each) for each in divisors}:
        return None
    return f"no render of {size_text(asked)} is {size_text(shown)}, as the preview is"


def _unsearched(trials: TrialRenderer, why: str) -> Diagnosis:
    """Return the diagnosis of a preview that no setting explains: its static findings."""
    case, request = trials.context.case, trials.context.request
    return Diagnosis(
        case=case, findings=static_findings(case), composition="different", correlation=None,
        floor={"rms": None, "source": "nothing was rendered"}, causes=[], explained=False, identical=False,
        rivals=[], nearer_without_lora=None, step_zero=None, tried={},
        not_tried={"everything": why},
        renders=0, spent=0.0, recipe=recipe(case, request, trials.effective({}).dtype),
    )  # fmt: skip


def _answer(trials: TrialRenderer, found: Search, control: StepZero | None, lpips: Lpips) -> Diagnosis:
    reference, case = found.reference, trials.context.case
    shown = found.path or ([] if found.explained else _alternatives(trials, found))
    best = found.path[-1] if found.path else reference
    sized = reference.image.shape == trials.preview.shape
    return Diagnosis(
        case=case,
        findings=static_findings(case),
        composition=trials.composition(reference),
        correlation=round(correlation(trials.preview, reference.image), 4) if sized else None,
        floor={
            "rms": None if found.floor is None else round(found.floor, 4),
            "source": f"{found.factor:g} times what another attention kernel changes, or T5's other one "
            "where the answer needs it, codec-matched, 0 to 255",
        },
        causes=_causes(trials, found, shown, lpips),
        explained=found.explained,
        identical=best.distance == 0,
        rivals=[words(trial.settings) for trial in _rivals(trials, found)],
        nearer_without_lora=_lora_off(trials, found),
        step_zero=control,
        tried=Counter(name for trial in trials.made for name in trial.settings),
        not_tried=_not_tried(trials, found),
        renders=trials.renders + (control.renders if control else 0),
        spent=trials.spent + (control.spent if control else 0.0),
        recipe=recipe(case, best.request, best.rendered.dtype),
        path=_steps(trials, found),
    )


def _steps(trials: TrialRenderer, found: Search) -> tuple[Step, ...]:
    steps = [
        Step(words(trial.settings), None if math.isinf(trial.distance) else trial.distance, trial.image)
        for trial in [found.reference, *found.path]
    ]
    return (*steps, Step("the preview", None, trials.preview))


def _alternatives(trials: TrialRenderer, found: Search) -> list[Trial]:
    """Return the best single settings for a preview that nothing explains, one of each axis."""
    limit = (1 - MIN_GAIN) * found.reference.distance
    best: dict[tuple[str, ...], Trial] = {}
    for trial in sorted(trials.made, key=lambda each: each.distance):
        if len(set(trial.settings) - {"dynamic_shifting"}) <= 1 and trial.distance < limit:
            best.setdefault(tuple(trial.settings), trial)
    return list(best.values())[:MAX_ALTERNATIVES]


def _causes(trials: TrialRenderer, found: Search, shown: list[Trial], lpips: Lpips) -> list[Cause]:
    causes: list[Cause] = []
    before = found.reference
    for trial in shown:
        for name in trial.settings:
            if name in before.settings:
                continue
            value = trial.settings[name]
            rest = [each for each in trials.made if each.settings.get(name) != value]
            following = min(rest, key=lambda each: each.distance)
            causes.append(
                Cause(
                    axis=name,
                    value=AXES[name].read(trials.context, trial.request),
                    reference_value=AXES[name].read(trials.context, trials.context.request),
                    gap_closed=_gap_closed(trials, found.reference, trial),
                    before=trials.scores(before, lpips),
                    after=trials.scores(trial, lpips),
                    distance=round(trial.distance, 4),
                    next_best=words(following.settings),
                    next_distance=None if math.isinf(following.distance) else round(following.distance, 4),
                )
            )
        if found.path:
            before = trial
    return causes


def _gap_closed(trials: TrialRenderer, reference: Trial, trial: Trial) -> float:
    """Return the share of the distance that is gone; for another size, of that of unrelated pictures."""
    whole = reference.distance
    if math.isinf(whole):
        whole = 2**0.5 * float(trials.preview.std())
    return round(max(0.0, 1 - trial.distance / whole), 4) if whole else 1.0


def _rivals(trials: TrialRenderer, found: Search) -> list[Trial]:
    """Return other settings within the floor, which explain the preview as well as the path, or nothing."""
    best = found.path[-1] if found.path else found.reference
    if best.distance == 0:
        same = [each for each in trials.made if each.distance == 0]
        return [
            each
            for each in same
            if same_but_rounding(each.settings, best.settings)
            or (
                each.settings.keys() == best.settings.keys()
                and each.settings.get("quantize") != best.settings.get("quantize")
            )
        ]
    if not found.explained or found.floor is None or found.proven:
        return []
    named = set(best.settings)
    return [
        trial
        for trial in sorted(trials.made, key=lambda each: each.distance)
        if trial.distance <= found.floor
        and trial is not best
        and "attention" not in trial.settings
        and not named < set(trial.settings)
        and trial.settings != best.settings
        and trial.settings
    ][:MAX_ALTERNATIVES]


def _not_tried(trials: TrialRenderer, found: Search) -> Mapping[str, str]:
    return {**left_out(trials), **trials.left_out, **found.untried}


def _lora_off(trials: TrialRenderer, found: Search) -> bool | None:
    if trials.context.request.lora is None:
        return None
    best = min(trials.made, key=lambda trial: trial.distance)
    return best.settings.get("lora_mode") == "none" and best.distance < found.reference.distance
