"""What loads the base anew comes after what does not."""

from __future__ import annotations

from collections.abc import Callable

from harness.diagnosis.factors import factors
from harness.diagnosis.prices import LOADS, price, split
from harness.diagnosis.search import search
from harness.diagnosis.trials import TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case
from harness.sweeps.axis import Context


def trials_of(case: Case, renderer: ReferenceRenderer) -> TrialRenderer:
    return TrialRenderer(Context(case, request_of(case, RunOptions(), "cpu"), "cpu"), renderer)


def test_factors_that_load_the_same_stay_together(bases: list[Case], renderer: ReferenceRenderer) -> None:
    found = factors(trials_of(bases[0], renderer), {}, lambda axis: axis.name != "quantize")
    stays, loads = split(reversed(found))
    assert {each.axis.name for each in loads} == {"dtype"}
    assert len(stays) + len(loads) == len(found)
    prices = [price(each.axis.name) for each in stays]
    assert prices == sorted(prices)
    assert prices[-1] < LOADS
    assert stays[-1].axis.name in {"checkpoint", "network_multiplier", "lora_mode"}


def test_a_number_that_points_is_found_before_a_base_is_loaded(
    altered: Callable[..., Case], renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("near", guidance_scale=3.4), renderer)
    assert search(trials, 60).path[-1].settings == {"guidance_scale": 3.4}
    assert not [each.settings for each in trials.made if "dtype" in each.settings]
