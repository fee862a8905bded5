"""A job's previews diagnosed together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.diagnosis.job_diagnosis import JobDiagnosis, _explains, diagnose_cases
from harness.pipeline.renderer import ReferenceRenderer
from harness.schema.case import Case
from tests.diagnosis.truths import base_cases, changed, rendered_with, trials_of


@pytest.fixture(scope="module")
def previews(
    jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, renderer: ReferenceRenderer
) -> list[Case]:
    """Eight previews that were rendered with guidance 3, one of them with another checkpoint besides."""
    bases = base_cases(jobs["inkprint"], tmp_path_factory.mktemp("together") / "cases")
    made = []
    for number, base in enumerate(bases[:8]):
        case = changed(base, width=96, height=96, sample_steps=6, guidance_scale=4.0, dtype="fp32")
        settings = {"guidance_scale": 2.7, **({"checkpoint": 300} if number == 6 else {})}
        made.append(rendered_with(settings, case, renderer, f"together-{number}.png"))
    return made


@pytest.fixture(scope="module")
def found(previews: list[Case], renderer: ReferenceRenderer) -> JobDiagnosis:
    (job,) = diagnose_cases(previews, renderer=renderer)
    return job


def test_what_holds_for_all_is_said_once(found: JobDiagnosis) -> None:
    assert found.explained
    assert found.shared == "guidance_scale = 2.7"
    said = list(found.sentences())
    assert said[0] == "cases: 7 of 8 previews: guidance_scale = 2.7"
    assert said[1] == "  together-6: checkpoint = 300, guidance_scale = 2.7"
    assert len(said) == 3


def test_each_further_preview_costs_one_render(found: JobDiagnosis) -> None:
    alike = [member.spent for member in found.members[1:] if member.shared]
    assert alike == [1.0] * len(alike)


def test_the_json_says_the_same(found: JobDiagnosis) -> None:
    body = json.loads(json.dumps(found.to_json()))
    assert body["shared"] == "guidance_scale = 2.7"
    assert {member["case"] for member in body["members"]} == {f"together-{number}" for number in range(8)}
    assert body["first"]["causes"][0]["value"] == 2.7


def test_a_preview_within_its_own_floor_is_not_searched(
    previews: list[Case], found: JobDiagnosis, renderer: ReferenceRenderer
) -> None:
    """Another kernel changes it more than it changes the preview that was searched."""
    made = rendered_with(
        {"t5_attention": "sdpa"}, changed(previews[0], dtype="bf16"), renderer, "own-floor.png"
    )
    trials = trials_of(made, renderer)
    own = trials.trial({})
    elsewhere = replace(found.first, identical=False, floor={"rms": 0.5, "source": ""})
    assert own.distance > 0.5
    assert _explains(trials, own, elsewhere)
    assert not _explains(trials, own, replace(elsewhere, identical=True))


def test_what_explains_a_later_preview_is_tried_on_those_that_follow(
    previews: list[Case], renderer: ReferenceRenderer
) -> None:
    """Where nothing was wrong with the first one, each other preview was searched."""
    first = rendered_with({}, changed(previews[0], guidance_scale=4.0), renderer, "together-plain.png")
    (job,) = diagnose_cases([first, *previews[1:5]], renderer=renderer)
    assert job.shared == "guidance_scale = 2.7"
    assert {member.case for member in job.members if not member.shared} == {"together-plain"}
    assert job.explained
    searched = [member for member in job.members if member.spent > 5]
    assert len(searched) == 1
    assert job.first.recipe
