"""Pairs of settings that add up to what is missing, near the preview.

There changes add up: those of two settings, each rendered alone, say without a render what both leave.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.diagnosis.factors import Factor, factors
from harness.diagnosis.narrowing import MAX_STRIDE, reach
from harness.diagnosis.trials import Pixels, Settings, Trial, TrialRenderer, changed_axes
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
    sums = _sums([missing, *(each.change for each in alone)])
    found: list[tuple[float, Settings]] = []
    for i, j in itertools.combinations(range(len(alone)), 2):
        one, other = alone[i], alone[j]
        if one.axis == other.axis:
            continue
        known = sums[np.ix_([0, i + 1, j + 1], [0, i + 1, j + 1])]
        shares = _shares(known, one, other)
        left = _left(known, *shares)
        if left < share * min(1.0, _left(known, 1, 0), _left(known, 0, 1)):
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
    names = changed_axes(settings, base)
    return next(iter(names)) if len(names) == 1 else None


def _sums(changes: list[Change]) -> NDArray[np.float64]:
    """Return the sum over pixels of the product of each two changes."""
    flat = np.stack([each.ravel() for each in changes])
    return (flat @ flat.T).astype(np.float64)


def _shares(known: NDArray[np.float64], one: _Alone, other: _Alone) -> tuple[float, float]:
    """Return how much of each change fits best: 1, but of a number what least squares say.

    Args:
        known: 3 × 3, sums of products of what is missing and the two changes.
    """
    free = [number for number, each in enumerate((one, other), start=1) if each.factor is not None]
    fixed = [number for number in (1, 2) if number not in free]
    shares = dict.fromkeys(fixed, 1.0)
    if free:
        wanted = known[free, 0] - known[np.ix_(free, fixed)].sum(axis=1)
        fitted = np.linalg.lstsq(known[np.ix_(free, free)], wanted, rcond=None)[0]
        shares |= dict(zip(free, np.clip(fitted, -MAX_STRIDE, MAX_STRIDE).tolist(), strict=True))
    return shares[1], shares[2]


def _left(known: NDArray[np.float64], one: float, other: float) -> float:
    """Return the share of what is missing that shares of both changes leave."""
    by = np.array([1.0, -one, -other])
    return math.sqrt(max(0.0, float(by @ known @ by)) / float(known[0, 0]))


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
