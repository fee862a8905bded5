"""A job that quantized its base: its previews have the quantizer, which a case leaves out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.diagnosis.beginning import beginning
from harness.diagnosis.lines import Lines
from harness.diagnosis.near import Near
from harness.diagnosis.search import search
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.trials import TrialRenderer
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import trials_of

pytest.importorskip("optimum.quanto")
Altered = Callable[..., Case]


@pytest.fixture
def quantized(altered: Altered, renderer: ReferenceRenderer) -> Callable[..., TrialRenderer]:
    """Trials of a case whose job says that it quantized, with ``settings`` in its preview."""

    def make(name: str, **settings: Value) -> TrialRenderer:
        case = altered(name, **settings)
        changes = {"quantize": True, "quantize_te": True, "qtype": "qfloat8"}
        made = case.model_copy(update={"trained": case.trained.model_copy(update=changes)})
        made._file = case._file
        return trials_of(made, renderer)

    return make


def test_a_search_begins_with_the_quantizer(quantized: Callable[..., TrialRenderer]) -> None:
    progress = Progress(quantized("quantized-seed", quantize="qfloat8", seed=39), 100, None)
    assert beginning(progress, {}, cleared=False).settings == {"quantize": "qfloat8"}


def test_what_a_control_cleared_and_another_tools_image_have_none(
    quantized: Callable[..., TrialRenderer],
) -> None:
    trials = quantized("quantized-seed", quantize="qfloat8", seed=39)
    assert beginning(Progress(trials, 100, None), {}, cleared=True).settings == {}
    assert beginning(Progress(trials, 100, 2.0), {}, cleared=False).settings == {}


def test_another_wrong_setting_is_found_on_top_of_it(quantized: Callable[..., TrialRenderer]) -> None:
    trials = quantized("quantized-seed", quantize="qfloat8", seed=39)
    found = search(trials, 60)
    assert found.path[-1].settings == {"quantize": "qfloat8", "seed": 39}
    assert found.path[-1].distance == 0


def test_a_config_that_was_edited_afterwards_does_not_count(
    quantized: Callable[..., TrialRenderer],
) -> None:
    progress = Progress(quantized("not-quantized"), 100, None)
    assert beginning(progress, {}, cleared=False) is progress.reference


def test_near_the_preview_it_is_left_out_once(quantized: Callable[..., TrialRenderer]) -> None:
    progress = Progress(quantized("quantized-seed", quantize="qfloat8", seed=39), 100, None)
    base = progress.trials.trial({"quantize": "qfloat8"})
    anchor = progress.trials.trial({"quantize": "qfloat8", "seed": 40})
    next(Near(progress, Lines(progress), base, anchor).renders())()
    assert progress.trials.made[-1].settings == {"seed": 40}
