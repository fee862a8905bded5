"""How far the values of a number are followed; whole searches are in test_diagnosis.py."""

from __future__ import annotations

import dataclasses

import pytest

from harness.diagnosis.search import Search, _Rounds
from harness.diagnosis.trials import Settings, Trial, TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.sweeps.axis import Context


@pytest.mark.parametrize(
    ("distances", "followed"),
    [([9, 8, 7], 3), ([9, 8.95, 1], 2), ([9.95, 8, 1], 1), ([11, 8, 1], 1)],
    ids=["clearly nearer", "hardly nearer", "hardly nearer at once", "farther"],
)
def test_a_number_is_followed_while_each_value_is_clearly_nearer(
    bases: list[Case], renderer: ReferenceRenderer, distances: list[float], followed: int
) -> None:
    trials = TrialRenderer(Context(bases[0], request_of(bases[0], RunOptions(), "cpu"), "cpu"), renderer)
    base = dataclasses.replace(trials.trial({}, stop_after=1), distance=10.0)
    values = (3.5, 3.0, 2.0)
    table = dict(zip(values, distances, strict=True))

    def measured(settings: Settings) -> Trial:
        return dataclasses.replace(base, settings=settings, distance=table[settings["guidance_scale"]])

    trials.trial = measured
    rounds = _Rounds(trials, Search(base, floor=0), budget=60, lora_first=False)
    assert len(rounds.along(base, [{"guidance_scale": value} for value in values])) == followed
