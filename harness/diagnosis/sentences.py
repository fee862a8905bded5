"""A diagnosis in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from harness.diagnosis.answer import Cause, Diagnosis
from harness.diagnosis.step_zero import StepZero
from harness.metrics.scores import Scores
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import show


def sentences(found: Diagnosis) -> Iterator[str]:
    """Yield what a person wants to know, the answer first."""
    yield _answer(found)
    if found.rivals:
        yield f"cannot tell apart within the floor: {', or '.join(found.rivals)}"
    if found.spent:
        picture = "the same picture" if found.composition == "same" else "another picture"
        measured = (
            "another size" if found.correlation is None else f"coarse correlation {found.correlation:.2f}"
        )
        yield f"composition: the re-run shows {picture} ({measured})"
    if found.nearer_without_lora:
        yield "control: without the LoRA the re-run is nearer to the preview: it may not have been applied"
    if found.step_zero:
        yield f"control: {_step_zero(found.step_zero)}"
    for cause in found.causes:
        yield f"  {_named(cause)} (the case: {show(cause.reference_value)}): {_effect(cause)}"
        yield f"      {AXES[cause.axis].explanation}"
        if cause.next_distance is not None:
            following = f"next is {cause.next_best} at {cause.next_distance:.2f}"
            yield f"      {cause.distance:.2f} of 255 from the preview; {following}"
    if not found.explained and found.spent and found.composition == "different":
        yield "the prompt may be another: a config that was edited when the job was resumed does not say so"
    tried = ", ".join(f"{name} {count}" for name, count in found.tried.items())
    yield f"tried, values of each axis: {tried or 'nothing but the case itself'}"
    for name, why in found.not_tried.items():
        yield f"  not tried: {name}: {why}"
    yield f"cost: {found.renders} renders, whole or in part, worth {found.spent:.1f} of the case's own"


def _answer(found: Diagnosis) -> str:
    named = " and ".join(_named(cause) for cause in found.causes)
    if found.explained and not found.causes:
        return f"{found.case.id}: the re-run matches within the floor; there is nothing to explain"
    if found.explained:
        return f"{found.case.id}: {named} explains the preview"
    if found.causes:
        return f"{found.case.id}: nothing explains the preview; nearest come: {named}"
    return f"{found.case.id}: nothing that was tried explains the preview"


def _step_zero(control: StepZero) -> str:
    if control.matches:
        return f"{control.case} is identical without the LoRA: all but the LoRA is cleared"
    if control.near:
        return f"{control.case} is within the floor without the LoRA, and not identical: it clears nothing"
    if not control.settings:
        return f"{control.case} does not match either, and nothing that was tried explains it"
    named = " and ".join(f"{axis} = {show(value)}" for axis, value in control.settings.items())
    how = "identical with" if control.proven else "explained by"
    return f"{control.case}, where the LoRA does nothing yet, is {how} {named}"


def _named(cause: Cause) -> str:
    return f"{cause.axis} = {show(cause.value)}"


def _effect(cause: Cause) -> str:
    return f"closes {cause.gap_closed:.0%} of the gap; {_scores(cause.before)} → {_scores(cause.after)}"


def _scores(scores: Scores | None) -> str:
    if scores is None:
        return "another size"
    if scores.psnr is None:
        return "identical"
    return f"SSIM {scores.ssim:.4f}, LPIPS {scores.lpips:.4f}, {scores.psnr:.1f} dB"
