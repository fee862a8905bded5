"""Previews without their checkpoint, rendered with the saved ones before and after it.

A preview of step N whose LoRA is gone lies, where training went on smoothly, between renders with its
neighbours. That is one kind of evidence and no verdict: a preview farther from both than they are from each
other has another cause beside the missing checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from harness.runs.folder import locked, read_rows, write_rows
from harness.runs.plan import Planned, RunOptions, in_order, plan, request_of
from harness.runs.results import RunResult, load_run
from harness.schema.case import Case
from harness.schema.result import NEAREST, REFERENCE, Row


def plan_neighbours(cases: list[Case], options: RunOptions, device: str) -> list[Planned]:
    """Return the plan of ``cases``, and one render for each neighbour of those without their checkpoint."""
    found = plan(cases, options, device)
    for case in cases:
        if case.incomparable is not None:
            for variant, neighbour in zip(NEAREST, case.neighbours, strict=False):
                near = case.model_copy(update={"lora": neighbour.lora, "incomparable": None})
                found.append(Planned(near, request_of(near, options, device), variant))
    return in_order(found)


def note_neighbours(folder: Path) -> RunResult:
    """Say in the rows of a finished run where each preview lies between its neighbours.

    Raises:
        RunError: not a run folder, or a run is writing there.
    """
    with locked(folder):
        rows = read_rows(folder)
        near: dict[str, list[Row]] = {}
        for row in rows:
            if row.variant in NEAREST:
                near.setdefault(row.case, []).append(row)
        write_rows(folder, [_noted(folder, row, near.get(row.case, [])) for row in rows])
    return load_run(folder)


def _noted(folder: Path, row: Row, near: list[Row]) -> Row:
    scored = [each for each in near if each.scores is not None and each.images.rerun is not None]
    if row.variant != REFERENCE or not scored:
        return row
    steps = dict(zip(NEAREST, (found.step for found in row.description.neighbours), strict=False))
    said = ", ".join(
        f"step {steps[each.variant]} SSIM {each.scores.ssim:.4f} LPIPS {each.scores.lpips:.4f}"
        for each in scored
        if each.scores is not None
    )
    where = f": {_place(folder, scored)}" if len(scored) == len(NEAREST) else ""
    reason = f"{row.description.incomparable}; nearest checkpoints: {said}{where}"
    return row.model_copy(update={"reason": reason})


def _place(folder: Path, near: list[Row]) -> str:
    """Say whether a preview is ``bracketed`` or ``outside``, by mean absolute difference, 0 to 255."""
    preview = folder / near[0].images.preview
    codec, shown = Codec.of(preview), load_rgb(preview).astype(np.int16)
    reruns = [load_rgb(folder / str(row.images.rerun)) for row in near]
    renders = [codec.apply(rerun).astype(np.int16) for rerun in reruns]
    before, after = (float(np.abs(render - shown).mean()) for render in renders)
    apart = float(np.abs(renders[0] - renders[1]).mean())
    numbers = f"{before:.2f} and {after:.2f} levels away, they are {apart:.2f} apart"
    if min(before, after) > apart:
        return f"outside ({numbers}): something beside the checkpoint differs"
    return f"bracketed ({numbers})"
