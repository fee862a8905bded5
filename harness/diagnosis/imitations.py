"""Schedules in the place of another: steps and shifts imitate each other, and one is as likely as another."""

from __future__ import annotations

from harness.diagnosis.estimates import Estimator
from harness.diagnosis.near import finer, nearest, schedules_of
from harness.diagnosis.trials import Settings, Trial, TrialRenderer, rms
from harness.sweeps.axes import AXES
from harness.sweeps.axis import Family

MAX_OF_AXIS = 3
"""Values of one axis among the schedules that make about the same change."""


def imitations(trials: TrialRenderer, base: Trial, anchor: Trial, count: int) -> list[Settings]:
    """Return up to ``count`` schedules in the place of each one that ``anchor`` changes on top of ``base``.

    A static shift goes with the switch that it needs.
    """
    new = anchor.settings.keys() - base.settings.keys()
    found: list[Settings] = []
    for name in sorted(new - {"dynamic_shifting"} or new):
        if name == "steps" or AXES[name].family is Family.SCHEDULE:
            gone = {name, "dynamic_shifting"} & new if name == "shift" else {name}
            rest = {key: value for key, value in anchor.settings.items() if key not in gone}
            found += _alike(trials, anchor, rest, name)[:count]
    return found


def _alike(trials: TrialRenderer, anchor: Trial, rest: Settings, name: str) -> list[Settings]:
    """Return schedules on top of ``rest`` that make about the change that ``anchor`` makes there.

    Those of each axis but ``name``, whose values are looked for beside the anchor's.
    """
    base = trials.attempt(rest)
    if base is None or not trials.can_follow:
        return []
    wanted, estimator = trials.follow(anchor.settings, base), Estimator(trials, base)
    left: list[tuple[float, Settings]] = []
    for factor in schedules_of(trials, rest):
        if factor.axis.name != name:
            known = [factor.settings(value) for value in estimator.estimate(finer(factor)).left]
            made = [(trials.follow(each, base), each) for each in known]
            near = [(rms(image, wanted), each) for image, each in made if image.shape == wanted.shape]
            left += sorted(near, key=lambda each: each[0])[:MAX_OF_AXIS]
    return nearest(left)
