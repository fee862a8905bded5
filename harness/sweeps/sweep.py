"""Plan a sweep: cases × variants, equal renders made once, what a case cannot take said in words."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from harness.errors import CaseError, HarnessError
from harness.precision.availability import require
from harness.runs.plan import RunOptions, in_order, request_of, sendable
from harness.runs.planned import Planned
from harness.runs.progress import Progress
from harness.runs.results import RunResult
from harness.runs.run import run_cases
from harness.schema.case import Case
from harness.schema.quantizers import quantizer_of
from harness.schema.render import Renderer, RenderRequest
from harness.schema.result import REFERENCE
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Context
from harness.sweeps.equal_renders import Effective, effective, why_same
from harness.sweeps.grid import Variant


def sweep_cases(
    cases: list[Case],
    variants: Sequence[Variant],
    *,
    out: str | os.PathLike[str],
    options: RunOptions | None = None,
    progress: Progress | None = None,
    renderer: Renderer | None = None,
) -> RunResult:
    """Render every case as recorded and under every variant, and score each against its preview.

    Rows go into a normal run folder, with the variants' names; a killed sweep is resumed.

    Raises:
        HarnessError: bad input, or a variant that no case can take; found before anything is rendered.
    """
    out = Path(out)

    def planner(cases: list[Case], options: RunOptions, device: str) -> list[Planned]:
        return plan_sweep(cases, variants, options, device)

    return run_cases(cases, out=out, options=options, progress=progress, renderer=renderer, planner=planner)


def plan_sweep(
    cases: list[Case], variants: Sequence[Variant], options: RunOptions, device: str
) -> list[Planned]:
    """Return the renders of a sweep, those that share weights next to each other, repetitions last.

    Raises:
        HarnessError: no variants, or one that no case can take.
    """
    if not variants:
        raise HarnessError("the grid is empty", field="grid", fix="give --axis, --grid or --preset")
    planned = [item for case in cases for item in _of_case(case, variants, options, device)]
    planned = sendable(planned, options)
    _refuse_hopeless(planned, cases)
    for item in planned:
        if item.request is not None and (name := quantizer_of(item.request.quantize)[0]) is not None:
            require(name)
    return in_order(planned)


def _of_case(case: Case, variants: Sequence[Variant], options: RunOptions, device: str) -> list[Planned]:
    if case.incomparable is not None:
        return [Planned(case, None, problem=case.incomparable)]
    context = Context(case, request_of(case, options, device), device)
    planned = [Planned(case, context.request)]
    made: dict[Effective, Planned] = {effective(context.request, device): planned[0]}
    for variant in dict.fromkeys(variants):
        item = _planned(context, variant)
        if (request := item.request) is not None:
            try:
                first = made.setdefault(effective(request, device), item)
            except HarnessError as error:
                item = Planned(case, None, variant.name, problem=str(error))
            else:
                item = item if first is item else _repeated(item, request, first)
        planned.append(item)
    return planned


def _planned(context: Context, variant: Variant) -> Planned:
    request = context.request
    for name, value in sorted(variant.settings, key=lambda setting: list(AXES).index(setting[0])):
        if problem := AXES[name].problem(dataclasses.replace(context, request=request), value):
            return Planned(context.case, None, variant.name, problem=f"{name}: {problem}")
        request = AXES[name].apply(context, request, value)
    return Planned(context.case, request, variant.name)


def _repeated(item: Planned, request: RenderRequest, first: Planned) -> Planned:
    assert first.request is not None
    why = f"same render as {first.variant}: {why_same(request, first.request)}"
    return Planned(item.case, request, item.variant, same_as=first.variant, same_why=why)


def _refuse_hopeless(planned: list[Planned], cases: list[Case]) -> None:
    """Refuse a variant that no case can take, other than a scheduler, which is listed with its reason."""
    able = {item.variant for item in planned if item.request is not None}
    for item in planned:
        if item.variant in able or item.variant == REFERENCE or item.problem is None:
            continue
        if "not applicable" not in item.problem:
            raise CaseError(
                f"cannot take {item.variant}: {item.problem}",
                file=item.case.id if len(cases) == 1 else f"none of {len(cases)} cases",
                fix="leave that axis out",
            )
