"""The step-0 preview of the same job as a control."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness._util.atomic_files import sha256_file
from harness.diagnosis.diagnose import BUDGET, diagnose
from harness.diagnosis.search import search
from harness.diagnosis.sentences import sentences
from harness.diagnosis.step_zero import step_zero
from harness.importers.aitoolkit import import_job
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, request_of
from harness.schema.case import Case, save_case
from tests.diagnosis.truths import base_cases, changed, rendered_with, trials_of


def test_it_is_the_same_prompt_of_the_same_job(jobs: dict[str, Path], tmp_path: Path) -> None:
    cases = import_job(jobs["inkprint"], out=tmp_path / "cases", steps="0,200").cases
    trained = next(case for case in cases if (case.preview.step, case.preview.index) == (200, 1))
    fixed = trained.model_copy(update={"noise": "legacy", "t5_attention": "sdpa"})
    fixed._file = trained._file
    found = step_zero(fixed)
    assert found is not None
    assert (found.preview.step, found.preview.index, found.noise) == (0, 1, "legacy")
    assert found.t5_attention == "sdpa"
    assert step_zero(found) is None
    other = fixed.model_copy(update={"settings": fixed.settings.model_copy(update={"seed": 7})})
    other._file = fixed._file
    assert step_zero(other) is None


@pytest.fixture(scope="module")
def trained(
    jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, renderer: ReferenceRenderer
) -> Case:
    """A case in whose folder the step-0 preview lies, rendered with nothing but the recorded settings."""
    case = base_cases(jobs["inkprint"], tmp_path_factory.mktemp("step-0") / "cases")[0]
    case = changed(case, width=96, height=96, sample_steps=6, dtype="fp32")
    zero = case.model_copy(update={"id": "zero", "lora": None})
    zero._file = case._file
    file = case.folder / "previews" / "zero.png"
    Image.fromarray(renderer.render(request_of(zero, RunOptions(), "cpu")).image).save(file)
    changes = {"file": f"previews/{file.name}", "sha256": sha256_file(file), "step": 0}
    changes |= {"width": case.settings.width, "height": case.settings.height}
    save_case(
        zero.model_copy(update={"preview": zero.preview.model_copy(update=changes)}),
        case.folder / "000000000_0.case.yaml",
    )
    return case


def test_where_it_matches_the_lora_is_asked_first(trained: Case, renderer: ReferenceRenderer) -> None:
    made = rendered_with({"network_multiplier": 0.7}, trained, renderer, "multiplier.png")
    found = diagnose(made, renderer=renderer)
    assert found.step_zero is not None
    assert found.step_zero.matches
    assert [(cause.axis, cause.value) for cause in found.causes] == [("network_multiplier", 0.7)]
    assert found.spent < 12
    assert any("is identical without the LoRA" in sentence for sentence in sentences(found))


def test_where_it_does_not_what_explains_it_is_tried_on_the_case(
    trained: Case, renderer: ReferenceRenderer
) -> None:
    """The recorded guidance is wrong for both previews."""
    wrong = {"settings": trained.settings.model_copy(update={"guidance_scale": 3.0})}
    zero = step_zero(trained)
    assert zero is not None
    assert zero._file is not None
    save_case(zero.model_copy(update=wrong), zero._file)
    made = rendered_with({"checkpoint": 200}, trained, renderer, "checkpoint.png")
    case = save_case(made.model_copy(update=wrong), made.folder / "wrong.case.yaml")
    found = diagnose(case, renderer=renderer)
    assert found.step_zero is not None
    assert found.step_zero.settings == {"guidance_scale": 4.0}
    assert found.to_json()["step_zero"]["settings"] == {"guidance_scale": 4.0}
    assert {cause.axis: cause.value for cause in found.causes} == {"guidance_scale": 4.0, "checkpoint": 200}
    assert found.step_zero.spent <= 0.2 * BUDGET + 2
    assert found.spent < 60  # on the case itself, only settings of the LoRA were tried


def test_a_seed_that_nearly_draws_a_control_points_to_other_seeds(
    altered: Callable[..., Case], renderer: ReferenceRenderer
) -> None:
    """A step-0 preview shows little of its seed: another one came near it, and nothing explained it."""
    trials = trials_of(altered("control-seed", seed=123), renderer)
    found = search(trials, 60, nearest={"seed": 38})
    assert found.path[-1].settings == {"seed": 123}
    others = {"guidance_scale", "checkpoint", "trigger"}
    assert not any(others & each.settings.keys() for each in trials.made)


def test_a_seed_of_a_control_is_not_kept_where_it_draws_another_picture(
    altered: Callable[..., Case], renderer: ReferenceRenderer
) -> None:
    trials = trials_of(altered("control-chance", seed=39), renderer)
    found = search(trials, 60, start={"seed": 44}, elsewhere=True)
    assert found.path[-1].settings == {"seed": 39}
