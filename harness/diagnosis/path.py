"""From a finished search to what is told of it: the causes one after the other, and what was not tried."""

from __future__ import annotations

import math

from harness.diagnosis.factors import factors, is_usual
from harness.diagnosis.floor import Floor
from harness.diagnosis.trials import Settings, Trial, TrialRenderer

NOT_POINTED = "nothing points to it"
"""Why a factor was left out of a search that ended within its budget and explains nothing."""


def minimal_path(
    trials: TrialRenderer, floor: Floor, best: Trial, kept: Settings, limit: float = math.inf
) -> list[Trial]:
    """Return ``best`` built up one factor at a time, the strongest first, without idle factors.

    Args:
        kept: settings that a control proved; they are never idle.
        limit: distance within which fewer settings have to be, besides within the floor.
    """
    settings = dict(best.settings)
    for name in [name for name in settings if name not in kept]:
        less = {key: value for key, value in settings.items() if key != name}
        trial = trials.attempt(less) if less else None
        if trial is not None and (trial.distance <= best.distance or _suffices(floor, trial, best, limit)):
            settings = less
    steps: list[Trial] = []
    taken: Settings = {}
    while len(taken) < len(settings):
        left = [{**taken, name: settings[name]} for name in settings if name not in taken]
        made = [trial for each in left if (trial := trials.attempt(each)) is not None]
        step = min(made, key=lambda trial: trial.distance)
        taken = step.settings
        steps.append(step)
    return steps


def untried_factors(trials: TrialRenderer, best: Trial, *, spent: bool, explained: bool) -> dict[str, str]:
    """Return which single factors were not rendered with all usual values, with the reason.

    Args:
        spent: the budget ended the search.
        explained: the preview is, which ended it.
    """
    ended = "the budget was spent" if spent else "the preview was explained before"
    why = ended if spent or explained else NOT_POINTED
    made = {_key(trial.settings) for trial in trials.made}
    untried = {}
    every = factors(trials, {})
    rare = [each for each in every if not is_usual(each) and _key(each.settings(each.values[0])) not in made]
    for axis in dict.fromkeys(each.axis.name for each in rare if each.axis.name not in best.settings):
        names = ", ".join(str(each.values[0]) for each in rare if each.axis.name == axis)
        untried[f"{axis} = {names}"] = why if why == NOT_POINTED else f"{NOT_POINTED}, or {why}"
    for factor in filter(is_usual, every):
        done = sum(_key(factor.settings(value)) in made for value in factor.values)
        if done < len(factor.values) and factor.axis.name not in best.settings:
            count = len(factor.values)
            of = f"{done} of {count} usual values were rendered; " if count > 1 else ""
            untried[factor.name] = of + why
    return untried


def _suffices(floor: Floor, trial: Trial, best: Trial, limit: float) -> bool:
    """Whether a trial explains as much as ``best``, which adds to it and is not identical."""
    return best.distance > 0 and trial.distance <= limit and floor.covers(trial)


def _key(settings: Settings) -> str:
    return repr(sorted(settings.items(), key=str))
