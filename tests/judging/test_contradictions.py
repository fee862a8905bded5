"""One recorded thing of a genuine job altered: the files alone name it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from harness._util.atomic_files import sha256_file
from harness.importers.aitoolkit import import_job
from harness.judging.findings import static_findings
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.result import Finding


@pytest.fixture
def case(jobs: dict[str, Path], tmp_path: Path) -> Case:
    """Step 20, sample 2 of the simple job: flags set size, seed, guidance and steps."""
    cases = import_job(jobs["simple"], out=tmp_path / "cases").cases
    return next(each for each in cases if (each.preview.step, each.preview.index) == (20, 2))


def warned(case: Case) -> dict[str, Finding]:
    return {each.id: each for each in static_findings(case) if each.severity != "info"}


def changed(case: Case, **parts: object) -> Case:
    made = case.model_copy(update=parts)
    made._file = case._file
    return made


def set_in(case: Case, part: str, **values: object) -> Case:
    return changed(case, **{part: getattr(case, part).model_copy(update=values)})


def test_a_case_as_imported_contradicts_nothing(case: Case) -> None:
    assert not warned(case)


def test_a_preview_of_another_job_in_its_place(case: Case, jobs: dict[str, Path]) -> None:
    shutil.copy(next((jobs["legacy"] / "samples").glob("*_2.jpg")), case.preview_path)
    assert "changed after the import" in warned(case)["changed"].message


def test_a_lora_of_the_same_step_in_its_place(case: Case) -> None:
    assert case.lora_path is not None
    rewrite(case.lora_path, lambda values: {key: 2 * value for key, value in values.items()})
    found = warned(case)
    assert found.keys() == {"changed"}
    assert found["changed"].where == "lora.sha256"


def test_an_edited_prompt(case: Case) -> None:
    found = warned(set_in(case, "settings", prompt="something else"))
    assert "something else" in found["prompt-changed"].message


def test_a_trigger_word_that_was_taken_out(jobs: dict[str, Path], tmp_path: Path) -> None:
    cases = import_job(jobs["simple"], out=tmp_path / "cases").cases
    first = next(each for each in cases if (each.preview.step, each.preview.index) == (20, 0))
    prompt = first.settings.prompt.replace(str(first.trained.trigger_word), "")
    altered = set_in(first, "settings", prompt=prompt)
    assert "prompt-changed" in warned(altered)
    assert "trigger" not in {each.id for each in static_findings(altered)}, "the template holds [trigger]"


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 8), ("guidance_scale", 3.5), ("sample_steps", 20), ("width", 128), ("height", 128)],
)
def test_a_setting_that_its_flag_contradicts(case: Case, name: str, value: float) -> None:
    assert f"sets {name} " in warned(set_in(case, "settings", **{name: value}))["flag-changed"].message


def test_what_a_diagnosis_wrote_is_no_contradiction(case: Case) -> None:
    note = "diagnosed: steps 20 instead of 12 closes 99% of the gap to the preview"
    assert not warned(changed(set_in(case, "settings", sample_steps=20), assumptions=[note]))


def test_a_case_without_its_lora(case: Case) -> None:
    assert "base alone" in warned(changed(case, lora=None))["no-lora"].message


def test_a_lora_of_another_model(case: Case) -> None:
    assert case.lora_path is not None
    rewrite(case.lora_path, metadata={"ss_base_model_version": "flux1"})
    assert "'flux1'" in warned(rehashed(case))["lora-model"].message


def test_a_lora_of_another_job(case: Case) -> None:
    assert case.lora_path is not None
    rewrite(case.lora_path, metadata={"ss_output_name": "another_job"})
    assert "'another_job'" in warned(rehashed(case))["lora-job"].message


def test_a_lora_that_changes_nothing(case: Case) -> None:
    assert case.lora_path is not None
    rewrite(case.lora_path, lambda values: {
        key: np.zeros_like(value) if "lora_B" in key else value for key, value in values.items()
    })  # fmt: skip
    assert "changes nothing" in warned(rehashed(case))["lora-zero"].message


def test_a_lora_that_is_switched_off(case: Case) -> None:
    off = static_findings(set_in(case, "lora", network_multiplier=0.0))
    assert "lora-off" in {each.id for each in off}


@pytest.mark.parametrize("base", [{"embedded": "tiny-flex2-emoji"}, {"repo": "owner/other"}])
def test_another_base(case: Case, base: dict[str, str]) -> None:
    trained = "ostris/Flex.2-preview" if "repo" in base else case.trained.base
    altered = set_in(changed(case, base=Base(**base)), "trained", base=trained)
    assert "the job trained on" in warned(altered)["base-changed"].message


def test_a_base_that_only_the_user_can_name_is_no_contradiction(case: Case) -> None:
    altered = set_in(changed(case, base=Base(repo="ostris/Flex.2-preview")), "trained", base="/models/flex2")
    assert not warned(altered)


def test_quantization_that_the_job_did_not_have(case: Case) -> None:
    found = warned(changed(case, quantize="qfloat8"))["quantize-changed"]
    assert "without quantizing" in found.message


def test_activations_that_no_job_says_are_rounded(case: Case) -> None:
    recorded = set_in(case, "trained", quantize=True, quantize_te=True, qtype="convrot4")
    for name in ("convrot4", "convrot4_a16"):
        assert "quantize-changed" not in warned(changed(recorded, quantize=name))
    found = warned(changed(recorded, quantize="convrot8"))["quantize-changed"]
    assert "with convrot4" in found.message


def test_noise_that_the_trainers_version_does_not_draw(case: Case) -> None:
    assert "current" in warned(changed(case, noise="legacy"))["noise-changed"].message


def test_a_preview_that_was_cut_after_the_trainer(case: Case) -> None:
    cut = set_in(case, "preview", width=90)
    assert "multiple of 16" in warned(cut)["size"].message
    assert "scaled or cut" in warned(set_in(case, "preview", width=192, height=320))["size"].message


@pytest.mark.parametrize("how", [{"format": "JPEG", "quality": 90}, {"format": "WEBP"}])
def test_a_preview_that_was_saved_again(case: Case, how: dict[str, object]) -> None:
    with Image.open(case.preview_path) as image:
        image.load()
        image.save(case.preview_path, **how)  # type: ignore[arg-type]
    altered = set_in(case, "preview", sha256=sha256_file(case.preview_path))
    assert "saved again" in warned(altered)["codec"].message


def rehashed(case: Case) -> Case:
    assert case.lora_path is not None
    return set_in(case, "lora", sha256=sha256_file(case.lora_path))


def rewrite(path: Path, edit=lambda values: values, metadata: dict[str, str] | None = None) -> None:  # type: ignore[no-untyped-def]
    with safe_open(path, "numpy") as file:
        values, known = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(edit(values), str(path), {**known, **(metadata or {})})
