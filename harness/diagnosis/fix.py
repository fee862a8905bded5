"""Write what a diagnosis proved into the case file, so that later runs compare like with like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness._util.atomic_files import disk_errors_as, read_bytes
from harness._util.output_paths import why_unwritable
from harness.diagnosis.answer import Cause, Diagnosis
from harness.diagnosis.diagnose import BUDGET, diagnose
from harness.errors import CaseError
from harness.runs.plan import RunOptions
from harness.schema.case import Case, save_case
from harness.schema.render import Renderer
from harness.sweeps.axis import checkpoints, prompts
from harness.sweeps.axis_values import show

_SETTINGS = {"seed": "seed", "steps": "sample_steps", "guidance_scale": "guidance_scale"}


@dataclass(frozen=True)
class Fixed:
    """What became of one case.

    Attributes:
        written: axes whose diagnosed value now stands in the case.
        left: axes that explain the preview and that a case file cannot say.
    """

    case: Case
    explained: bool
    written: tuple[str, ...]
    left: tuple[str, ...]
    summary: str


def fix_case(
    case: Case,
    *,
    options: RunOptions | None = None,
    renderer: Renderer | None = None,
    budget: float = BUDGET,
    write: bool = True,
) -> Fixed:
    """Diagnose ``case`` and write the values that explain its preview into its file, each with the reason.

    Nothing is written unless the preview is explained.

    Raises:
        CaseError: the file cannot be written, or was changed meanwhile; where that shows only at the end,
            with what was found.
        HarnessError: as ``diagnose``.
    """
    if write and case.file is not None and (why := why_unwritable(case.file)) is not None:
        raise CaseError(f"cannot be written ({why})", file=case.file, fix="see what it says with --dry-run")
    before = _content(case)
    found = diagnose(case, options=options, renderer=renderer, budget=budget)
    if not found.explained or not found.causes:
        within = f" within a budget of {budget:g} renders" if found.spent >= budget else ""
        nothing = f"nothing explains it{within}; the file is unchanged"
        summary = "matches already" if found.explained else nothing
        return Fixed(case, found.explained, (), (), summary)
    changes = {cause.axis: _change(case, cause) for cause in found.causes}
    written = tuple(axis for axis, change in changes.items() if change is not None)
    left = tuple(axis for axis, change in changes.items() if change is None)
    fixed = _apply(case, found, changes)
    summary = _summary(found, written, left)
    if write and written and case.file is not None:
        what = ", ".join(f"{cause.axis} {show(cause.value)}" for cause in found.causes)
        if _content(case) != before:
            fix = "write that into it, or repeat the command"
            raise CaseError(f"was changed while it was diagnosed; found was {what}", file=case.file, fix=fix)
        with disk_errors_as(CaseError, f"cannot be written; found was {what}", file=case.file):
            fixed = save_case(fixed, case.file, schema=_schema_line(case))
    return Fixed(fixed, True, written, left, summary)


def _content(case: Case) -> bytes | None:
    """Return what the case's file holds; None where there is none, or it cannot be read."""
    try:
        return None if case.file is None else read_bytes(case.file)
    except OSError:
        return None


def _change(case: Case, cause: Cause) -> dict[str, Any] | None:
    """Return the case's fields that say what ``cause`` found, or None where a case cannot say it."""
    if cause.axis in {"noise", "quantize", "t5_attention"} or (
        cause.axis == "divisor" and cause.value in {16, 32}
    ):
        return {cause.axis: cause.value}
    if cause.axis in _SETTINGS:
        return {"settings": {_SETTINGS[cause.axis]: cause.value}}
    if cause.axis == "network_multiplier":
        return {"lora": {"network_multiplier": cause.value}}
    if cause.axis == "trigger":
        return {"settings": {"prompt": prompts(case)[str(cause.value)]}}
    if cause.axis == "checkpoint":
        file, sha256 = checkpoints(case)[int(cause.value)]
        return {"lora": {"file": file.relative_to(case.folder).as_posix(), "sha256": sha256}}
    return None


def _apply(case: Case, found: Diagnosis, changes: dict[str, dict[str, Any] | None]) -> Case:
    data = case.model_dump(mode="json")
    for change in changes.values():
        for field, value in (change or {}).items():
            data[field] = {**data[field], **value} if isinstance(value, dict) else value
    if "checkpoint" in changes:
        data["incomparable"] = None
    data["assumptions"] = [
        *data["assumptions"],
        *(_reason(cause) for cause in found.causes if changes[cause.axis] is not None),
    ]
    fixed = Case.model_validate(data)
    fixed._file = case.file
    return fixed


def _reason(cause: Cause) -> str:
    return (
        f"diagnosed: {cause.axis} {show(cause.value)} instead of {show(cause.reference_value)} closes "
        f"{cause.gap_closed:.0%} of the gap to the preview"
    )


def _schema_line(case: Case) -> str | None:
    assert case.file is not None
    first = case.file.read_text(encoding="utf-8").partition("\n")[0]
    return first.partition("$schema=")[2] or None


def _summary(found: Diagnosis, written: tuple[str, ...], left: tuple[str, ...]) -> str:
    values = {cause.axis: show(cause.value) for cause in found.causes}
    lines = [f"{axis}: {values[axis]} written" for axis in written]
    lines += [f"{axis} = {values[axis]} explains it, and a case file cannot say so" for axis in left]
    return "; ".join(lines)
