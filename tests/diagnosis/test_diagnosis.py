"""A few known truths, diagnosed blind; benchmarks/diagnosis.py does it at scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.diagnosis.answer import Diagnosis
from harness.diagnosis.conclusion import Search
from harness.diagnosis.diagnose import _rivals, diagnose
from harness.diagnosis.fix import fix_case
from harness.diagnosis.path import untried_factors
from harness.diagnosis.sentences import sentences
from harness.errors import CaseError
from harness.metrics.images import load_rgb
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, load_case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import trials_of

Found = dict[str, tuple[Case, Diagnosis, Value, Value]]


@pytest.fixture(scope="module")
def found(
    altered: Callable[..., Case], renderer: ReferenceRenderer
) -> dict[str, tuple[Case, Diagnosis, Value, Value]]:
    """Cases with what was diagnosed, the true value and the recorded one."""
    wanted: dict[str, tuple[Value, Value]] = {
        "noise": ("legacy", "current"),
        "guidance_scale": (3.0, 4.0),
        "quantize": ("qfloat8", "none"),
    }
    made = {}
    for axis, (true, recorded) in wanted.items():
        case = altered(f"one-{axis}", suffix="jpg", trained_in="bf16", **{axis: true})
        made[axis] = (case, diagnose(case, renderer=renderer), true, recorded)
    return made


@pytest.mark.parametrize("axis", ["noise", "guidance_scale", "quantize"])
def test_the_true_axis_and_value_come_first(found: Found, axis: str) -> None:
    _, diagnosis, true, recorded = found[axis]
    assert diagnosis.explained
    first = diagnosis.causes[0]
    assert (first.axis, first.value) == (axis, true)
    assert first.reference_value == recorded
    assert first.gap_closed == 1
    assert first.after is not None
    assert first.after.pixels.identical


def test_composition_tells_noise_from_the_rest(found: Found) -> None:
    assert {axis: diagnosis.composition for axis, (_, diagnosis, _, _) in found.items()} == {
        "noise": "different",
        "guidance_scale": "same",
        "quantize": "same",
    }


def test_the_json_has_what_is_documented(found: Found) -> None:
    body = found["guidance_scale"][1].to_json()
    assert {"case", "composition", "floor", "findings", "causes", "explained", "renders"} <= set(body)
    assert {"axis", "value", "reference_value", "gap_closed", "ssim", "lpips"} <= set(body["causes"][0])
    assert {"id", "severity", "message"} <= set(body["findings"][0])
    assert isinstance(body["causes"][0]["value"], float)


def test_the_answer_comes_first_in_words(found: Found) -> None:
    case, diagnosis, _, _ = found["noise"]
    assert next(iter(sentences(diagnosis))) == f"{case.id}: noise = legacy explains the preview"


def test_the_recipe_runs_and_gives_the_preview_back(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, diagnosis, _, _ = found["noise"]
    monkeypatch.chdir(tmp_path)
    exec(compile(diagnosis.recipe, "recipe.py", "exec"), {})  # the harness's own text
    ours = np.asarray(Image.open(tmp_path / f"{case.id}.png").convert("RGB"))
    difference = ours.astype(int) - load_rgb(case.preview_path)
    assert np.sqrt((difference**2).mean()) < 8  # a JPEG preview is a codec away


def test_fix_writes_values_and_reasons_that_the_next_run_uses(
    found: Found, renderer: ReferenceRenderer
) -> None:
    case, _, _, _ = found["noise"]
    before = case._file
    assert before is not None
    fixed = fix_case(case, renderer=renderer)
    assert fixed.written == ("noise",)
    again = load_case(before)
    assert again.noise == "legacy"
    assert any(note.startswith("diagnosed: noise legacy") for note in again.assumptions)
    assert request_of(again, RunOptions(), "cpu").noise == "legacy"
    assert fix_case(again, renderer=renderer).summary == "matches already"


def test_fix_says_that_the_budget_was_spent(
    altered: Callable[..., Case], renderer: ReferenceRenderer
) -> None:
    fixed = fix_case(altered("spent", seed=7, steps=12), renderer=renderer, budget=2)
    assert fixed.summary == "nothing explains it within a budget of 2 renders; the file is unchanged"


def test_a_case_that_cannot_be_rerun_is_one_line(bases: list[Case]) -> None:
    lost = bases[0].model_copy(update={"incomparable": "its checkpoint was pruned", "lora": None})
    with pytest.raises(CaseError, match="cannot be re-run: its checkpoint was pruned; harness diag"):
        diagnose(lost)


def test_two_quantizers_that_give_the_same_picture_cannot_be_told_apart(
    altered: Callable[..., Case], renderer: ReferenceRenderer
) -> None:
    """torchao's float8 and quanto's qfloat8 did, and one was named as if it were certain."""
    trials = trials_of(altered("same-picture", quantize="qfloat8-te"), renderer)
    reference, trial = trials.trial({}), trials.trial({"quantize": "qfloat8-te"})
    assert trial.distance == 0
    same = replace(trial, settings={"quantize": "float8-te"})
    trials.made += [same, replace(trial, settings={"quantize": "qfloat8-te", "steps": 6})]
    assert _rivals(trials, Search(reference, path=[trial], explained=True)) == [same]


@pytest.mark.parametrize(
    ("spent", "explained", "why"),
    [
        (True, False, "the budget was spent"),
        (False, True, "the preview was explained before"),
        (False, False, "nothing points to it"),
    ],
)
def test_what_was_not_tried_says_why(
    altered: Callable[..., Case], renderer: ReferenceRenderer, *, spent: bool, explained: bool, why: str
) -> None:
    """It said "explained before" of a preview that nothing explains."""
    trials = trials_of(altered("untried", guidance_scale=3.4), renderer)
    untried = untried_factors(trials, trials.trial({}), spent=spent, explained=explained)
    assert {"guidance_scale", "steps"} <= untried.keys()
    assert all(reason.endswith(why) for reason in untried.values())
