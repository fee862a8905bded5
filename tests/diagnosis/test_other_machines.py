"""Previews that a machine rendered whose products round otherwise: nothing here is identical to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from harness.diagnosis.choice import Choice
from harness.diagnosis.diagnose import diagnose, diagnoser
from harness.diagnosis.factors import factors, is_usual
from harness.diagnosis.floor import Floor
from harness.diagnosis.identity import Identity, rounded_twins, same_but_rounding
from harness.diagnosis.job_diagnosis import _lead
from harness.diagnosis.lines import Lines
from harness.diagnosis.near import leaders_on_other_kernel
from harness.diagnosis.search import search
from harness.diagnosis.search_progress import Progress
from harness.diagnosis.singles import Singles, more_steps
from harness.importers.aitoolkit import import_job
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case, save_case
from tests.diagnosis.truths import changed, rendered_with, saved, trials_of

Altered = Callable[..., Case]


@pytest.fixture(scope="module")
def in_bf16(bases: list[Case], renderer: ReferenceRenderer) -> Case:
    """A case in bf16 whose preview has another kernel of T5 than the case says, and other rounding."""
    return _elsewhere(changed(bases[0], dtype="bf16"), renderer, "elsewhere", t5_attention="sdpa")


def _elsewhere(case: Case, renderer: ReferenceRenderer, name: str, **settings: str | float) -> Case:
    made = rendered_with(settings, case, renderer, f"{name}.png")
    assert made.preview_path is not None
    image = np.asarray(Image.open(made.preview_path)).astype(float)
    image += np.random.default_rng(0).normal(0, 1, image.shape)
    Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8)).save(made.preview_path)
    return saved(made, made.preview_path, name)


def test_a_wrong_guidance_of_a_genuine_job_is_named(
    jobs: dict[str, Path], tmp_path: Path, fresh_renderer: ReferenceRenderer
) -> None:
    job = tmp_path / "emoji_inkprint"
    shutil.copytree(jobs["inkprint"], job)
    config = yaml.safe_load((job / "config.yaml").read_text(encoding="utf-8"))
    config["config"]["process"][0]["sample"]["guidance_scale"] = 3.5
    (job / "config.yaml").write_text(yaml.dump(config), encoding="utf-8")
    cases = import_job(job, out=tmp_path / "cases", steps="all").cases
    case = next(each for each in cases if each.id.endswith("000000100_3"))
    assert case.file is not None
    case = save_case(case.model_copy(update={"noise": "current"}), case.file)
    found = diagnose(case, renderer=fresh_renderer, budget=35)  # a fifth of it for the step-0 preview
    assert found.explained
    assert (found.causes[0].axis, found.causes[0].value) == ("guidance_scale", 4.0)


def test_a_folder_is_led_by_a_preview_that_its_settings_do_not_explain(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    """One within its floor as recorded hardly changes with what is wrong: its search told nothing."""
    case = changed(bases[0], dtype="bf16")
    near = _elsewhere(case, renderer, "near")
    wrong = _elsewhere(case, renderer, "wrong", guidance_scale=6.3)
    with diagnoser([near, wrong], None, renderer, 20, lambda _: None) as made:
        lead, looked = _lead(made, [near, wrong])
    assert lead is wrong
    assert list(looked) == [near.id, wrong.id]


def test_t5s_other_kernel_is_part_of_what_the_floor_may_be(
    in_bf16: Case, bases: list[Case], renderer: ReferenceRenderer
) -> None:
    trials = trials_of(in_bf16, renderer)
    own, other = trials.trial({}), trials.trial({"t5_attention": "sdpa"})
    assert Floor(trials).of_t5(own) == pytest.approx(
        1.5 * np.sqrt(np.mean((own.image.astype(float) - other.image) ** 2))
    )
    in_fp32 = trials_of(rendered_with({"guidance_scale": 2.9}, bases[0], renderer, "of-t5.png"), renderer)
    assert Floor(in_fp32).of_t5(in_fp32.trial({})) == 0


def test_what_leads_is_rendered_with_t5s_other_kernel(in_bf16: Case, renderer: ReferenceRenderer) -> None:
    trials = trials_of(in_bf16, renderer)
    leader = trials.trial({"max_shift": 1.1})
    trials.trial({"max_shift": 1.05})
    far = trials.trial({"seed": 43})
    assert leader.distance < far.distance
    found = leaders_on_other_kernel(trials, leader)
    assert {"max_shift": 1.1, "t5_attention": "sdpa"} in found
    assert {"max_shift": 1.05, "t5_attention": "sdpa"} in found
    assert len(found) == 2
    assert leaders_on_other_kernel(trials, far) == []


def test_what_a_control_found_is_kept_though_the_recorded_dtype_comes_nearer(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    case = _elsewhere(changed(bases[0], dtype="fp32"), renderer, "control-dtype", dtype="bf16")
    found = search(trials_of(case, renderer), 30, start={"dtype": "bf16"}, elsewhere=True)
    assert found.explained
    assert found.path[-1].settings["dtype"] == "bf16"


def test_the_other_era_of_noise_is_tried_in_the_usual_dtype(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    """In fp32 both eras draw the same, so that neither the dtype nor the era alone comes nearer."""
    progress = Progress(trials_of(altered("era", noise="legacy", dtype="bf16"), renderer), 100, None)
    singles = Singles(progress, Lines(progress), progress.reference, cleared=False)
    numeric = [each for each in factors(progress.trials, {}) if each.is_numeric]
    found = [each.settings(each.values[0]) for each in singles._era_in_usual_dtype(numeric)]
    assert found == [{"dtype": "bf16", "noise": "legacy"}]
    assert progress.trials.trial(found[0]).distance == 0


def test_more_steps_are_tried_that_no_estimate_shows(altered: Altered, renderer: ReferenceRenderer) -> None:
    trials = trials_of(altered("more-steps", steps=25), renderer)
    assert more_steps(trials, trials.trial({})) == [{"steps": 12}]  # the case has 6


def test_a_seed_that_people_type_is_found(altered: Altered, renderer: ReferenceRenderer) -> None:
    case = altered("typed-seed", seed=123)
    assert not any(is_usual(each) for each in factors(trials_of(case, renderer), {}) if each.values == (123,))
    found = diagnose(case, renderer=renderer)
    assert [(cause.axis, cause.value) for cause in found.causes] == [("seed", 123)]
    assert found.identical


def test_all_usual_values_of_a_number_that_changes_next_to_nothing_may_be_identical(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    case = rendered_with({"max_shift": 1.5}, changed(bases[0], dtype="bf16"), renderer, "flat-line.png")
    progress = Progress(trials_of(case, renderer), 100, None)
    anchor = progress.trials.trial({"max_shift": 1.1})
    left = Identity(progress, Lines(progress), progress.reference, anchor)._on_flat_lines(anchor)
    assert {"max_shift": 1.5} in left


def test_other_rounding_is_tried_in_the_place_of_what_is_identical(
    altered: Altered, renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("rounding-twin", checkpoint=200), renderer)
    best = trials.trial({"checkpoint": 200, "attention": "_native_math"})
    others = rounded_twins(trials, {}, best)
    assert {"checkpoint": 200, "lora_mode": "adapter"} in others
    assert all(same_but_rounding(each, best.settings) for each in others)
    assert not same_but_rounding({"checkpoint": 200}, best.settings)
    assert not same_but_rounding({"checkpoint": 100, "lora_mode": "adapter"}, best.settings)
    assert rounded_twins(trials, {}, trials.trial({"checkpoint": 200})) == []


def test_a_preview_much_nearer_than_any_kernel_makes_it_is_told(
    bases: list[Case], renderer: ReferenceRenderer
) -> None:
    case = rendered_with({"dtype": "fp16"}, changed(bases[0], dtype="bf16"), renderer, "in-fp16.png")
    found = search(trials_of(case, renderer), 60, elsewhere=True)
    assert found.explained
    assert found.path[-1].settings == {"dtype": "fp16"}


def test_rounding_alone_is_not_told_of_a_preview_within_the_floor(
    in_bf16: Case, renderer: ReferenceRenderer
) -> None:
    progress = Progress(trials_of(in_bf16, renderer), 100, None, elsewhere=True)
    other = progress.trials.trial({"t5_attention": "sdpa"})
    limit = Choice(progress, progress.reference).beyond_rounding()
    assert limit == pytest.approx(0.4 * min(other.distance, progress.reference.distance))
