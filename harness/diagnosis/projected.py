"""Values of numbers that the renders made so far point to, near the preview.

There an image changes about in proportion to a number. So the preview's projection onto the line between two
renders of it says which value it has, and how much that leaves, without another render.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from harness.diagnosis.factors import factors
from harness.diagnosis.lines import Lines
from harness.diagnosis.narrowing import MAX_STRIDE, project, reach
from harness.diagnosis.search_progress import Progress, Render
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.sweeps.axes import AXES

MAX_LEFT = 0.8
"""Share of the nearest render's distance that a projection leaves at most: two unrelated ones leave 0.87."""
SHARP = 0.5
"""Share of the anchor's distance that a value leaves at most for its neighbours to be rendered."""
MAX_VALUES = 8
"""Values that are rendered because of a projection."""


def projected(progress: Progress, lines: Lines, anchor: Trial) -> Iterator[Render]:
    """Yield the render of the value that a projection puts nearest, as long as one leaves little.

    Each render gives the next projection. Where none leaves little, the neighbours of a value that leaves at
    most half of what the anchor leaves come last.
    """
    for _ in range(MAX_VALUES):
        found = sorted(_values(progress.trials, anchor), key=lambda each: each[0])
        beside = [] if found else _beside_best(progress.trials, anchor)
        if not found and not beside:
            return
        yield from lines.settings([found[0][1]] if found else beside[:1])


def _values(trials: TrialRenderer, anchor: Trial) -> Iterator[tuple[float, Settings]]:
    """Yield, for each number, settings of a new value on top of ``anchor``, and the distance projected."""
    for name, axis in AXES.items():
        grid, line = axis.grid, _line(trials, anchor, name)
        if grid is None or len(line) < 2:
            continue
        settings = {key: value for key, value in anchor.settings.items() if key != name}
        found = factors(trials, settings, lambda each, name=name: each.name == name)  # type: ignore[misc]
        best = min(line, key=lambda value: line[value].distance)
        beside = sorted((value for value in line if value != best), key=lambda value: abs(value - best))[:2]
        for factor, other in itertools.product(found, beside):
            place, cosine = project(trials, line[best], line[other])
            place = min(max(place, -MAX_STRIDE), MAX_STRIDE)
            start, end = grid.place(best), grid.place(other)
            low, high = reach(factor, best)
            value = grid.snap(min(max(grid.number(start + place * (end - start)), low), high))
            left = math.sqrt(1 - min(1.0, cosine**2))
            if left < MAX_LEFT and value not in line:
                yield left * line[best].distance, factor.settings(value)


def _beside_best(trials: TrialRenderer, anchor: Trial) -> list[Settings]:
    """Return the neighbours on its grid of the nearest value on top of ``anchor`` that were not rendered."""
    lines = {name: _line(trials, anchor, name) for name in AXES}
    known = [(each.distance, name, value) for name, line in lines.items() for value, each in line.items()]
    distance, name, best = min(known, default=(anchor.distance, "", 0.0))
    if distance > SHARP * anchor.distance:
        return []
    grid, settings = AXES[name].grid, lines[name][best].settings
    assert grid is not None
    beside = [grid.snap(best + sign * grid.step) for sign in (1, -1)]
    return [{**settings, name: value} for value in beside if value not in lines[name]]


def _line(trials: TrialRenderer, anchor: Trial, name: str) -> dict[float, Trial]:
    """Return what was rendered of a number on top of ``anchor``, by its value, the anchor included."""
    if AXES[name].grid is None:
        return {}
    moved = {name, "dynamic_shifting"} if name == "shift" else {name}
    rest = _without(anchor.settings, moved)
    on_it = [each for each in trials.made if name in each.settings and _without(each.settings, moved) == rest]
    line = {float(each.settings[name]): each for each in on_it}
    is_static = not AXES["dynamic_shifting"].read(trials.context, anchor.request)
    if name != "shift" or is_static:
        line[float(AXES[name].read(trials.context, anchor.request))] = anchor
    return line


def on_line(trials: TrialRenderer, anchor: Trial, name: str) -> list[Trial]:
    """Return what was rendered of the number ``name`` on the rest of ``anchor``, without ``anchor``."""
    return [each for each in _line(trials, anchor, name).values() if each is not anchor]


def _without(settings: Settings, names: set[str]) -> Settings:
    return {key: value for key, value in settings.items() if key not in names}
