"""Pairs of settings that add up to what is missing, near the preview.

There changes add up: those of two settings, each rendered alone, say without a render what both leave.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.narrowing import MAX_STRIDE, reach
from harness.diagnosis.trials import Pixels, Settings, Trial, TrialRenderer
from harness.sweeps.axes import AXES
from harness.sweeps.axis_values import Value

ADDS_UP = 40.0
"""Distance up to which the changes of two settings about add up, 0 to 255."""
MAX_PAIRS = 6
"""Pairs to render."""
MAX_SHARE = 0.95
"""Share of what the nearer of two settings leaves that both together leave at most."""
EDGE = 192
"""Longer edge in pixels to which images are averaged before changes are added: rounding averages out."""

Change = NDArray[np.float32]


@dataclass(frozen=True)
class _Alone:
    """A setting that was rendered alone, and its change; of a number the change may be more or less of it."""

    axis: str
    value: Value
    trial: Trial
    change: Change
    factor: Factor | None


def superposed(trials: TrialRenderer, base: Trial, share: float = MAX_SHARE) -> list[Settings]:
    """Return pairs of settings that were rendered alone on ``base`` and should leave little together.

    The nearest comes first. A number takes the value that fits best.

    Args:
        share: of what the nearer of the two leaves alone, that both should leave at most.
    """
    if base.distance > ADDS_UP:
        return []
    alone = list(_rendered_alone(trials, base))
    missing = _smaller(trials.preview) - _smaller(trials.matched(base.image))
    whole = float(np.linalg.norm(missing))
    found: list[tuple[float, Settings]] = []
    for one, other in itertools.combinations(alone, 2):
        if one.axis == other.axis:
            continue
        shares = _shares(missing, one, other)
        left = float(np.linalg.norm(missing - shares[0] * one.change - shares[1] * other.change)) / whole
        single = min(float(np.linalg.norm(missing - each.change)) / whole for each in (one, other))
        if left < share * min(1.0, single):
            settings = {**one.trial.settings, **other.trial.settings}
            for each, much in zip((one, other), shares, strict=True):
                settings |= _moved(each, base, trials, much)
            found.append((left, settings))
    nearest = [settings for _, settings in sorted(found, key=lambda each: each[0])]
    return [each for each in nearest if not trials.is_made(each)][:MAX_PAIRS]


def _rendered_alone(trials: TrialRenderer, base: Trial) -> Iterator[_Alone]:
    """Yield the settings rendered alone on ``base``; of each number the nearest value, of others all."""
    origin, numbers = _smaller(trials.matched(base.image)), set[str]()
    known = {each.axis.name: each for each in factors(trials, base.settings) if each.own is not None}
    for trial in sorted(trials.made, key=lambda each: each.distance):
        name = _changed_alone(trial.settings, base.settings)
        if name is None or name in numbers or trial.image.shape != base.image.shape:
            continue
        if AXES[name].grid is not None:
            numbers.add(name)
        change = _smaller(trials.matched(trial.image)) - origin
        if change.any():
            factor = known.get(name) if name != "shift" else None
            yield _Alone(name, trial.settings[name], trial, change, factor)


def _changed_alone(settings: Settings, base: Settings) -> str | None:
    """Return the one axis that ``settings`` change on top of ``base``; None where it is not one."""
    if not base.items() <= settings.items():
        return None
    changed = settings.keys() - base.keys()
    names = changed - {"dynamic_shifting"} or changed
    return next(iter(names)) if len(names) == 1 else None


def _shares(missing: Change, *pair: _Alone) -> list[float]:
    """Return how much of each change fits best: 1, but of a number what least squares say."""
    free = [each for each in pair if each.factor is not None]
    fixed = sum((each.change for each in pair if each.factor is None), np.zeros_like(missing))
    if not free:
        return [1.0, 1.0]
    columns = np.stack([each.change.ravel() for each in free], axis=1)
    fitted = iter(np.linalg.lstsq(columns, (missing - fixed).ravel(), rcond=None)[0])
    limits = (-MAX_STRIDE, MAX_STRIDE)
    return [1.0 if each.factor is None else float(np.clip(next(fitted), *limits)) for each in pair]


def _moved(alone: _Alone, base: Trial, trials: TrialRenderer, share: float) -> Settings:
    """Return the number of ``alone`` moved by a share of its change; nothing of any other setting."""
    if alone.factor is None:
        return {}
    grid, own = AXES[alone.axis].grid, float(AXES[alone.axis].read(trials.context, base.request))
    assert grid is not None
    start, end = grid.place(own), grid.place(float(alone.value))
    low, high = reach(alone.factor, own)
    return {alone.axis: grid.snap(min(max(grid.number(start + share * (end - start)), low), high))}


def _smaller(image: Pixels) -> Change:
    """Return an image averaged to at most ``EDGE`` pixels along its longer edge, fp32."""
    height, width = image.shape[:2]
    scale = min(1.0, EDGE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image if scale == 1 else np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    return small.astype(np.float32)
