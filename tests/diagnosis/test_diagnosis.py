"""A few known truths, diagnosed blind; benchmarks/diagnosis.py does it at scale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.diagnosis.diagnose import Diagnosis, diagnose
from harness.diagnosis.fix import fix_case
from harness.diagnosis.sentences import sentences
from harness.errors import CaseError
from harness.metrics.images import load_rgb
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, load_case
from tests.diagnosis.truths import Truth, truths


@pytest.fixture(scope="module")
def found(bases: list[Case], renderer: ReferenceRenderer) -> dict[str, tuple[Truth, Diagnosis]]:
    made: Iterator[Truth] = truths(bases, [("noise",), ("guidance_scale",), ("quantize",)], renderer, seed=3)
    return {
        next(iter(truth.factors)): (truth, diagnose(truth.case, renderer=renderer, budget=60))
        for truth in made
    }


@pytest.mark.parametrize("axis", ["noise", "guidance_scale", "quantize"])
def test_the_true_axis_and_value_come_first(found: dict[str, tuple[Truth, Diagnosis]], axis: str) -> None:
    truth, diagnosis = found[axis]
    assert diagnosis.explained
    first = diagnosis.causes[0]
    assert (first.axis, first.value) == (axis, truth.factors[axis])
    assert first.reference_value == truth.recorded[axis]
    assert first.gap_closed == 1
    assert first.after is not None
    assert first.after.pixels.identical


def test_composition_tells_noise_from_the_rest(found: dict[str, tuple[Truth, Diagnosis]]) -> None:
    assert {axis: d.composition for axis, (_, d) in found.items()} == {
        "noise": "different",
        "guidance_scale": "same",
        "quantize": "same",
    }


def test_the_json_has_what_is_documented(found: dict[str, tuple[Truth, Diagnosis]]) -> None:
    body = found["guidance_scale"][1].to_json()
    assert {"case", "composition", "floor", "findings", "causes", "explained", "renders"} <= set(body)
    assert {"axis", "value", "reference_value", "gap_closed", "ssim", "lpips"} <= set(body["causes"][0])
    assert {"id", "severity", "message"} <= set(body["findings"][0])
    assert isinstance(body["causes"][0]["value"], float)


def test_the_answer_comes_first_in_words(found: dict[str, tuple[Truth, Diagnosis]]) -> None:
    truth, diagnosis = found["noise"]
    assert next(iter(sentences(diagnosis))) == f"{truth.case.id}: noise = legacy explains the preview"


def test_the_recipe_runs_and_gives_the_preview_back(
    found: dict[str, tuple[Truth, Diagnosis]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, diagnosis = found["noise"]
    monkeypatch.chdir(tmp_path)
    exec(compile(diagnosis.recipe, "recipe.py", "exec"), {})  # the harness's own text
    ours = np.asarray(Image.open(tmp_path / f"{truth.case.id}.png").convert("RGB"))
    difference = ours.astype(int) - load_rgb(truth.case.preview_path)
    assert np.sqrt((difference**2).mean()) < 8  # a JPEG preview is a codec away


def test_fix_writes_values_and_reasons_that_the_next_run_uses(
    found: dict[str, tuple[Truth, Diagnosis]], renderer: ReferenceRenderer
) -> None:
    truth, _ = found["noise"]
    before = truth.case._file
    assert before is not None
    fixed = fix_case(truth.case, renderer=renderer, budget=60)
    assert fixed.written == ("noise",)
    again = load_case(before)
    assert again.noise == "legacy"
    assert any(note.startswith("diagnosed: noise legacy") for note in again.assumptions)
    assert request_of(again, RunOptions(), "cpu").noise == "legacy"
    assert fix_case(again, renderer=renderer, budget=60).summary == "matches already"


def test_a_case_that_cannot_be_rerun_is_one_line(bases: list[Case]) -> None:
    lost = bases[0].model_copy(update={"incomparable": "its checkpoint was pruned"})
    with pytest.raises(CaseError, match="cannot be re-run: its checkpoint was pruned; harness diag"):
        diagnose(lost)
