"""Previews without their checkpoint, rendered with the saved ones before and after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.judging.nearest import describe, place_of
from harness.runs.folder import locked
from harness.runs.plan import RunOptions, in_order, plan, request_of, sendable
from harness.runs.planned import Planned
from harness.runs.results import RunResult, load_run
from harness.runs.run_files import read_rows, write_rows
from harness.runs.scorer import Scorer
from harness.schema.case import Case
from harness.schema.result import NEAREST, REFERENCE, NearestCheckpoints, Row


def plan_neighbours(cases: list[Case], options: RunOptions, device: str) -> list[Planned]:
    """Return the plan of ``cases``, and one render for each neighbour of those without their checkpoint."""
    near = [item for case in cases for item in plan_nearest(case, options, device)]
    return in_order([*plan(cases, options, device), *near])


def plan_nearest(case: Case, options: RunOptions, device: str) -> list[Planned]:
    """Return one render for each neighbour of a case without its checkpoint; nothing for any other case."""
    if case.incomparable is None:
        return []
    found = []
    for variant, neighbour in zip(NEAREST, case.neighbours, strict=False):
        near = case.model_copy(update={"lora": neighbour.lora, "incomparable": None})
        found.append(Planned(near, request_of(near, options, device), variant))
    return sendable(found, options)


def note_neighbours(folder: Path, lpips_weights: str | os.PathLike[str] | None = None) -> RunResult:
    """Say in the rows of a finished run where each preview lies between its neighbours.

    Raises:
        RunError: not a run folder, or a run is writing there.
    """
    with locked(folder):
        write_rows(folder, _noted(read_rows(folder), folder, Scorer(lpips_weights)))
    return load_run(folder)


def note_again(rows: Sequence[Row], folder: Path, scorer: Scorer) -> list[Row]:
    """Return the rows of a run that was scored again with what their neighbours' rows say of them now."""
    return _noted([_without_nearest(row) for row in rows], folder, scorer)


def _noted(rows: Sequence[Row], folder: Path, scorer: Scorer) -> list[Row]:
    near: dict[str, list[Row]] = {}
    for row in rows:
        if row.variant in NEAREST:
            near.setdefault(row.case, []).append(row)
    return [
        with_nearest(row, near.get(row.case, []), folder, scorer) if row.variant == REFERENCE else row
        for row in rows
    ]


def _without_nearest(row: Row) -> Row:
    if row.nearest is None:
        return row
    reason = row.reason.removesuffix(f"; {describe(row.nearest)}")
    return row.model_copy(update={"nearest": None, "reason": reason})


def with_nearest(row: Row, near: Sequence[Row], folder: Path, scorer: Scorer) -> Row:
    """Return the row of a preview without its checkpoint with what its neighbours' rows say of it.

    Args:
        near: rows of the variants ``NEAREST``; those without scores say nothing.
        folder: the run folder that holds their images.
    """
    scored = {each.variant: each for each in near if each.scores is not None}
    if row.nearest is not None or not scored:
        return row
    steps = dict(zip(NEAREST, (neighbour.step for neighbour in row.description.neighbours), strict=False))
    names = [name for name in NEAREST if name in scored]
    scores = tuple(each for name in names if (each := scored[name].scores) is not None)
    found = NearestCheckpoints(steps=tuple(steps[name] for name in names), scores=scores)
    if len(scores) == len(NEAREST):
        apart = scorer.score_reruns(folder, *(scored[name].images for name in names))
        found = found.model_copy(update={"apart": apart, "place": place_of(scores[0], scores[1], apart)})
    return row.model_copy(update={"nearest": found, "reason": f"{row.reason}; {describe(found)}"})
