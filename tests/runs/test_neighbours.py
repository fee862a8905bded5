"""Previews without their checkpoint, rendered with the saved ones around them: evidence, and no verdict."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import pytest

from harness.cli.show import summarise
from harness.importers.aitoolkit import import_job
from harness.judging.nearest import describe
from harness.judging.verdict import judge_variant
from harness.report.formatting import slug
from harness.runs.neighbours import note_neighbours, plan_neighbours
from harness.runs.plan import RunOptions, plan
from harness.runs.rescore import rescore
from harness.runs.run import run_cases
from harness.runs.run_files import read_rows, write_rows
from harness.schema.case import Case
from harness.schema.case_parts import Neighbour
from harness.schema.metric_limits import Tolerance
from harness.schema.result import NEAREST, REFERENCE, Row, Verdict
from tests.judging.rows import scores

LIMITS = Tolerance(ssim_min=0.9, lpips_max=0.1, source="test")


@pytest.fixture
def pruned(jobs: dict[str, Path], tmp_path: Path) -> Path:
    """The shipped job without its checkpoint of step 200."""
    job = Path(shutil.copytree(jobs["inkprint"], tmp_path / "emoji_inkprint"))
    (job / "emoji_inkprint_000000200.safetensors").unlink()
    return job


def step(cases: list[Case], number: int) -> list[Case]:
    return [case for case in cases if case.preview.step == number]


def test_an_import_names_the_checkpoints_around_a_gap(pruned: Path, tmp_path: Path) -> None:
    cases = import_job(pruned, out=tmp_path / "cases").cases
    (case, *_) = step(cases, 200)
    assert [neighbour.step for neighbour in case.neighbours] == [100, 300]
    files = [neighbour.lora.file for neighbour in case.neighbours if neighbour.lora]
    assert files == ["loras/emoji_inkprint_000000100.safetensors", "loras/emoji_inkprint.safetensors"]
    assert all(not other.neighbours for other in cases if other.preview.step != 200)
    (pruned / "emoji_inkprint_000000100.safetensors").unlink()
    (case, *_) = step(import_job(pruned, out=tmp_path / "b").cases, 200)
    assert [(neighbour.step, neighbour.lora is None) for neighbour in case.neighbours] == [
        (0, True),
        (300, False),
    ]
    (pruned / "emoji_inkprint.safetensors").unlink()
    assert step(import_job(pruned, out=tmp_path / "c").cases, 200)[0].neighbours == []


def test_the_neighbours_are_rendered_and_nothing_is_judged(
    pruned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = import_job(pruned, out=tmp_path / "cases").cases
    (case, *_) = step(cases, 200)
    assert [item.variant for item in plan([case], RunOptions(), "cpu")] == [REFERENCE]
    out = tmp_path / "run"
    run_cases([case], out=out, options=RunOptions(device="cpu"), planner=plan_neighbours)
    result = note_neighbours(out)
    rows = {row.variant: row for row in result.rows}
    assert set(rows) == {REFERENCE, *NEAREST}
    assert {row.verdict for row in rows.values()} == {Verdict.INCOMPARABLE}
    assert all(rows[name].scores is not None for name in NEAREST)
    reason = rows[REFERENCE].reason
    assert reason.startswith("the checkpoint of step 200 is missing")
    assert "nearest checkpoints: step 100 SSIM" in reason
    assert ", step 300 SSIM" in reason
    assert reason.endswith(": bracketed")
    summarise(result)
    assert f"{case.id}: nearest checkpoints: step 100 SSIM" in capsys.readouterr().out
    assert "those two, from each other" in (out / "cases" / f"{slug(case.id)}.html").read_text()
    assert not any(found.id == "checkpoint" for row in rows.values() for found in row.findings)
    assert rows[REFERENCE].findings[0].id == "not-rerunnable"
    assert result.exit_code == 1
    place_wrongly(out, rows[REFERENCE])
    assert {row.variant: row for row in rescore(out).rows} == rows


def place_wrongly(run: Path, row: Row) -> None:
    """Write other scores of the neighbours into a row, as an older metric would have."""
    assert row.nearest is not None
    near = row.nearest.model_copy(update={"apart": scores(0.5), "place": "outside"})
    reason = row.reason.replace(describe(row.nearest), describe(near))
    wrong = row.model_copy(update={"nearest": near, "reason": reason})
    write_rows(run, [wrong if other.variant == REFERENCE else other for other in read_rows(run)])


def test_a_neighbour_is_never_a_match_or_drift(pruned: Path, tmp_path: Path) -> None:
    (case, *_) = import_job(pruned, out=tmp_path / "cases", steps="200").cases
    for variant, value in product(NEAREST, (0.5, 0.99)):
        assert judge_variant(case, variant, scores(value), LIMITS)[0] is Verdict.INCOMPARABLE
        assert judge_variant(case, "seed=1", scores(value), LIMITS)[0] is not Verdict.INCOMPARABLE


def close_neighbours(case: Case, name: str, **settings: float) -> Case:
    """Return a case whose own LoRA, a little weaker and a little stronger, is that of the steps around it."""
    assert case.lora is not None
    step = case.preview.step or 0
    around = [
        Neighbour(step=near, lora=case.lora.model_copy(update={"network_multiplier": scale}))
        for near, scale in ((step - 1, 0.95), (step + 1, 1.05))
    ]
    update = {
        "id": f"{case.id}_{name}",
        "lora": None,
        "neighbours": around,
        "incomparable": "its checkpoint is missing",
        "settings": case.settings.model_copy(update=settings),
    }
    return case.model_copy(update=update).at(case.folder / name)


def test_a_wrong_guidance_lies_outside_and_the_right_one_between(
    jobs: dict[str, Path], tmp_path: Path
) -> None:
    (case, *_) = import_job(jobs["inkprint"], out=tmp_path / "cases", steps="200").cases
    cases = [close_neighbours(case, "right"), close_neighbours(case, "wrong", guidance_scale=7.0)]
    out = tmp_path / "run"
    run_cases(cases, out=out, options=RunOptions(device="cpu"), planner=plan_neighbours)
    right, wrong = (row for row in note_neighbours(out).rows if row.variant == REFERENCE)
    assert right.nearest is not None
    assert wrong.nearest is not None
    assert (right.nearest.steps, right.nearest.place) == ((199, 201), "bracketed")
    assert (wrong.nearest.steps, wrong.nearest.place) == ((199, 201), "outside")
    assert "outside; something beside the checkpoint differs" in wrong.reason
    assert {right.verdict, wrong.verdict} == {Verdict.INCOMPARABLE}
    assert [row.reason for row in note_neighbours(out).rows if row.variant == REFERENCE] == [
        right.reason,
        wrong.reason,
    ]
