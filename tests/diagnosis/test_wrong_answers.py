"""Answers that an earlier search got wrong, each on a preview of the shipped job's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.diagnosis.answer import Diagnosis
from harness.diagnosis.diagnose import diagnose
from harness.diagnosis.fix import fix_case
from harness.diagnosis.sentences import sentences
from harness.judging.findings import static_findings
from harness.pipeline.renderer import ReferenceRenderer
from harness.precision import availability
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, load_case, save_case
from harness.sweeps.axis_values import Value
from tests.diagnosis.truths import changed, saved

Altered = Callable[..., Case]


def named(found: Diagnosis) -> dict[str, object]:
    return {cause.axis: cause.value for cause in found.causes}


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"guidance_scale": 2.7}, 12),
        ({"guidance_scale": 6.3}, 90),
        ({"network_multiplier": 0.65}, 30),
        ({"steps": 11}, 35),
        ({"seed": 38}, 20),
    ],
    ids=str,
)
def test_a_number_off_the_usual_values_is_named_exactly(
    altered: Altered, renderer: ReferenceRenderer, settings: dict[str, float], most: float
) -> None:
    axis, value = next(iter(settings.items()))
    found = diagnose(altered(f"off-{axis}-{value}", **settings), renderer=renderer)
    assert named(found) == settings
    assert found.identical
    assert found.spent < most


def test_a_trigger_word_that_the_config_lost_is_found_and_written(
    bases: list[Case], altered: Altered, renderer: ReferenceRenderer
) -> None:
    case = altered("lost-trigger")
    prompt = case.settings.prompt.replace("inkprint", "[trigger]")
    trained = case.trained.model_copy(update={"trigger_word": None})
    lost = changed(case, prompt=prompt).model_copy(update={"trained": trained})
    lost._file = case._file
    assert "[trigger]" in prompt
    assert any(finding.id == "trigger-lost" for finding in static_findings(lost))
    fixed = fix_case(lost, renderer=renderer)
    assert fixed.written == ("trigger",)
    assert load_case(Path(str(case._file))).settings.prompt == case.settings.prompt


def test_a_checkpoint_whose_metadata_says_another_step_is_diagnosed(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    case = altered("renamed", checkpoint=200)
    marked = case.model_copy(update={"incomparable": "the metadata of its LoRA says step 100, not 200"})
    marked._file = case._file
    assert named(diagnose(marked, renderer=renderer)) == {"checkpoint": 200}


def test_a_flat_preview_is_a_static_finding_and_costs_nothing(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    file = bases[0].folder / "previews" / "black.png"
    Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save(file)
    found = diagnose(saved(bases[0], file, "black"), renderer=renderer)
    assert [finding.id for finding in found.findings][:1] == ["flat"]
    assert (found.explained, found.causes, found.spent) == (False, [], 0)
    assert any("one flat colour" in sentence for sentence in sentences(found))


def test_a_preview_of_a_size_that_nothing_renders_costs_nothing(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    with Image.open(bases[0].preview_path) as image:
        file = bases[0].folder / "previews" / "cut.png"
        image.crop((0, 0, 90, 96)).save(file)
    found = diagnose(saved(bases[0], file, "cut"), renderer=renderer)
    assert (found.explained, found.causes, found.spent) == (False, [], 0)
    said = "\n".join(sentences(found))
    assert "no render of 96×96 is 90×96, as the preview is" in said
    assert "explained before" not in said


def test_what_cannot_run_here_is_left_out_and_named(
    altered: Altered, renderer: ReferenceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda _name: None)
    found = diagnose(altered("no-quanto", guidance_scale=3.0), renderer=renderer)
    assert named(found) == {"guidance_scale": 3.0}
    why = "needs optimum-quanto, which is not installed"
    assert why in {each for name, each in found.not_tried.items() if name.startswith("quantize = qfloat8, ")}
    assert any("not tried: quantize = qfloat8, " in sentence for sentence in sentences(found))


def test_nothing_is_named_where_only_rounding_differs(bases: list[Case], renderer: ReferenceRenderer) -> None:
    case = bases[0]
    own = diagnose(case_of(case, renderer, "unaltered", noise=0.3), renderer=renderer, budget=12)
    assert own.explained
    assert own.causes == []


def case_of(case: Case, renderer: ReferenceRenderer, name: str, noise: float) -> Case:
    image = renderer.render(request_of(case, RunOptions(), "cpu")).image
    rounded = image + np.random.default_rng(0).normal(0, noise, image.shape)
    file = case.folder / "previews" / f"{name}.png"
    Image.fromarray(np.clip(np.rint(rounded), 0, 255).astype(np.uint8)).save(file)
    return saved(case, file, name)


def test_the_distance_to_the_next_answer_stands_beside_the_cause(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    found = diagnose(altered("margin", guidance_scale=2.5), renderer=renderer)
    cause = found.causes[0]
    assert cause.distance == 0
    assert cause.next_distance is not None
    assert cause.next_distance > 0
    assert found.to_json()["causes"][0]["next_best"] == cause.next_best
    assert found.tried["guidance_scale"] >= 1
    assert "scheduler = UniPC" in found.not_tried


def test_two_factors_are_both_named(altered: Altered, renderer: ReferenceRenderer) -> None:
    factors = {"checkpoint": 200, "guidance_scale": 2.5}
    assert named(diagnose(altered("two", **factors), renderer=renderer)) == factors


def test_saving_a_fixed_checkpoint_makes_the_case_comparable(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    case = altered("renamed-too", checkpoint=200)
    marked = save_case(
        case.model_copy(update={"incomparable": "its LoRA says step 100"}), Path(str(case._file))
    )
    assert fix_case(marked, renderer=renderer).written == ("checkpoint",)
    again = load_case(Path(str(case._file)))
    assert again.incomparable is None
    assert again.lora is not None
    again.verify()


@pytest.mark.parametrize("rendered", ["convrotint4", "convrotint4_a16"])
def test_a_rotating_quantizer_that_the_job_recorded_is_tried_both_ways(
    altered: Altered, renderer: ReferenceRenderer, rendered: str
) -> None:
    case = altered(f"recorded-{rendered}", quantize=rendered)
    recorded = {"quantize": True, "quantize_te": True, "qtype": "convrotint4", "qtype_te": "convrotint4"}
    case = case.model_copy(update={"trained": case.trained.model_copy(update=recorded)})
    found = diagnose(case, renderer=renderer)
    assert named(found) == {"quantize": rendered}
    assert found.identical
    assert found.spent < 8


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"checkpoint": 300, "seed": 37}, 40),
        ({"lora_mode": "none", "seed": 39}, 60),
    ],
    ids=str,
)
def test_two_wrong_settings_are_named_where_one_hides_the_other(
    altered: Altered, renderer: ReferenceRenderer, settings: dict[str, Value], most: float
) -> None:
    found = diagnose(altered("-".join(settings), **settings), renderer=renderer)
    assert named(found) == settings
    assert found.identical
    assert found.spent < most
