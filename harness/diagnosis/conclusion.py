"""What a search came to: which settings are told, and whether they explain the preview."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from harness.diagnosis.beginning import MIN_GAIN
from harness.diagnosis.choice import Choice
from harness.diagnosis.floor import FACTOR, MAX_FLOOR
from harness.diagnosis.path import minimal_path, untried_factors
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.trials import Trial


@dataclass
class Search:
    """A finished search.

    Attributes:
        reference: the case's own render.
        floor: at the settings found; None where nothing came near enough to measure one.
        factor: how many times what another kernel changes the floor is.
        path: accepted trials, one factor more in each, best last; empty where nothing helps.
        explained: the last trial, or the reference, is identical to the preview or within the floor.
        proven: the path begins with settings that made a control identical.
        untried: factors of which values were not rendered, with the reason.
    """

    reference: Trial
    floor: float | None = None
    factor: float = FACTOR
    path: list[Trial] = field(default_factory=list)
    explained: bool = False
    proven: bool = False
    untried: dict[str, str] = field(default_factory=dict)


def concluded(progress: Progress, start: Trial, *, cleared: bool) -> Search:
    """Return what came of a search.

    Args:
        start: what it began from.
        cleared: a control was identical with the settings of ``start``.
    """
    choice, floor, trials = Choice(progress, start), progress.floor, progress.trials
    best, reference = choice.nearest(), progress.reference
    found = Search(reference, factor=floor.factor, explained=floor.covers(best))
    limit = choice.beyond_rounding() if floor.covers(start) else math.inf
    if best.distance > limit:
        best = start
    gained = best.distance < (1 - MIN_GAIN) * reference.distance
    found.proven = cleared and bool(start.settings) and start.settings.items() <= best.settings.items()
    kept = start.settings if cleared else progress.taken_over
    if best is not reference and (gained or found.proven or progress.taken_over):
        found.path = minimal_path(trials, floor, best, kept, limit)
        found.explained = floor.covers(found.path[-1])
    if 0 < best.distance <= MAX_FLOOR:
        found.floor = floor.at(best)
    if not found.explained and (plain := choice.plainest()) is not None:
        found.path = minimal_path(trials, floor, plain, kept)
        found.explained, found.floor = True, floor.of_t5(plain)
    if found.explained and found.path and (usual := choice.usual(found.path[-1])) is not found.path[-1]:
        found.path = minimal_path(trials, floor, usual, kept)
    found.untried = untried_factors(trials, best, spent=progress.is_spent, explained=found.explained)
    return found
