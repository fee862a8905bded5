"""What loads the base anew comes after what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.diagnosis.factors import factors
from harness.diagnosis.identity import Identity
from harness.diagnosis.lines import Lines
from harness.diagnosis.prices import LOADS, price, split
from harness.diagnosis.search import search
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.trials import Settings, Trial
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.diagnosis.truths import trials_of


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


def test_on_a_gpu_what_is_dear_comes_after_schedules_where_identity_is_sought(
    altered: Callable[..., Case], renderer: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding is named and not rendered: the CPU lacks a GPU's kernels."""
    progress = Progress(trials_of(altered("dear", max_shift=1.4), renderer, "cuda"), 100, None)
    real, tried = progress.trials.attempt, list[Settings]()

    def attempt(settings: Settings, *rest: object) -> Trial | None:
        tried.append(settings)
        return None if is_rounding(settings) else real(settings)

    monkeypatch.setattr(progress.trials, "attempt", attempt)
    for render in Identity(progress, Lines(progress), progress.reference, progress.reference).renders():
        render()
    dear = [settings for settings in tried if is_dear(settings)]
    assert {"attention": "_native_math"} in dear
    assert {settings["dtype"] for settings in dear if "dtype" in settings} == {"bf16", "fp16"}
    assert tried[-len(dear) :] == dear
    assert {"max_shift": 1.4} in tried
    assert tried.index({"attention": "_native_flash"}) < tried.index({"max_shift": 1.4})


def is_rounding(settings: Settings) -> bool:
    return bool({"attention", "dtype", "lora_mode"} & settings.keys())


def is_dear(settings: Settings) -> bool:
    return "dtype" in settings or settings.get("attention") == "_native_math"
