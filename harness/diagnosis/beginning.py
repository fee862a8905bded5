"""What a search begins from: what is recorded, what a control found, the quantizer that the job recorded."""

from __future__ import annotations

import math

from harness.diagnosis.factors import ROUNDING_AXES, factors
from harness.diagnosis.narrowing import MAX_ROUNDING
from harness.diagnosis.quantized import recorded
from harness.diagnosis.search_progress import ALONE, Progress
from harness.diagnosis.trials import Settings, Trial
from harness.sweeps.axes import AXES

MIN_GAIN = 0.1
"""Share of the distance that a cause must remove."""
WITHOUT = 0.9
"""Share of what the job's quantizer leaves, below which a render without it is clearly nearer."""
BY_CHANCE = frozenset({"seed"})
"""Axes of which another value may draw the picture of a control, and not that of the case."""


def beginning(progress: Progress, start: Settings, *, cleared: bool) -> Trial:
    """Return the trial to begin from, which has the preview's size where a divisor gives it.

    Args:
        start: what a control found.
        cleared: it made the control identical.
    """
    base = progress.reference
    if start:
        taken = _of_another_machine(progress, start) if progress.elsewhere else progress.trials.attempt(start)
        allowed = (1 + (MIN_GAIN if cleared else 0)) * base.distance
        if taken is not None and (progress.elsewhere or taken.distance < allowed):
            base = taken
    if math.isinf(base.distance):
        for factor in factors(progress.trials, base.settings, lambda axis: axis.name == "divisor"):
            sized = progress.trials.attempt(factor.settings(factor.values[0]))
            if sized is not None and not math.isinf(sized.distance):
                base = sized
    return base if cleared or progress.of_tool else _as_quantized(progress, base)


def _of_another_machine(progress: Progress, start: Settings) -> Trial | None:
    """Return the trial of ``start`` if it is within the floor, else of what it holds besides numbers.

    Of a number that only came near, the exact value is not known. What is no number is kept to the end,
    except a seed that does not come near here.
    """
    trial = progress.trials.attempt(start)
    if trial is None or progress.floor.covers(trial):
        return trial
    unsure = BY_CHANCE if trial.distance > ALONE * progress.reference.distance else frozenset()
    rest = {name: value for name, value in start.items() if AXES[name].grid is None and name not in unsure}
    trial = progress.trials.attempt(rest) if rest else None
    if trial is None or trial.distance >= max(progress.reference.distance, MAX_ROUNDING):
        return None
    progress.taken_over = rest
    return trial


def _as_quantized(progress: Progress, base: Trial) -> Trial:
    """Return ``base`` with the quantizer that the job recorded, which its previews have and a case may lack.

    It stays out where the preview is explained without it, or is clearly nearer.
    """
    trials, trained = progress.trials, progress.trials.context.case.trained
    if not (trained.quantize or trained.quantize_te) or progress.floor.covers(base):
        return base
    found = factors(trials, base.settings, lambda axis: axis.name == "quantize")
    made = [trials.attempt(each.settings(each.values[0])) for each in recorded(trials, found)]
    quantized = min((each for each in made if each), key=lambda trial: trial.distance, default=base)
    return base if base.distance < WITHOUT * quantized.distance else quantized


def pointed_at(base: Trial, start: Settings, nearest: Settings) -> frozenset[str]:
    """Return the axes that a control points to without their value: those of ``start`` and ``nearest``.

    Args:
        base: what the search begins from.
        start: what explains the control.
        nearest: what leaves little of it where nothing explains it.
    """
    return frozenset({*start, *nearest} - base.settings.keys() - set(ROUNDING_AXES))
