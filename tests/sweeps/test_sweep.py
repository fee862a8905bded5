"""A sweep through the normal run folder, on the tiny checkpoint."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.importers.aitoolkit import import_job
from harness.runs.plan import RunOptions
from harness.schema.case import Case, save_case
from harness.schema.result import Row, Verdict
from harness.sweeps.grid import Variant, parse_axis, product
from harness.sweeps.sweep import plan_sweep, sweep_cases
from tests.runs.counting import Counting


@pytest.fixture(scope="module")
def case(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("sweep")
    made = import_job(jobs["inkprint"], out=folder / "cases", steps="200").cases[0]
    quick = made.model_copy(update={"settings": made.settings.model_copy(update={"sample_steps": 3})})
    return save_case(quick, folder / "cases" / "quick.case.yaml")


def singles(*texts: str) -> list[Variant]:
    return [variant for text in texts for variant in product([parse_axis(text)])]


def test_rows_renders_repetitions_and_resuming(case: Case, tmp_path: Path) -> None:
    variants = singles("steps=2", "shift=7", "divisor=16", "scheduler=DDIM")
    renderer = Counting()
    result = sweep_cases([case], variants, out=tmp_path / "run", renderer=renderer)
    rows: dict[str, Row] = {row.variant: row for row in result.rows}
    assert set(rows) == {"reference", *(variant.name for variant in variants)}
    assert len(renderer.seeds) == 2
    assert rows["steps=2"].rendered is not None
    assert rows["steps=2"].rendered.steps == 2
    assert rows["shift=7"].reason.startswith("same render as reference: a static shift does nothing")
    assert rows["divisor=16"].reason.startswith("same render as reference: both floor to the same size")
    assert rows["shift=7"].scores == rows["reference"].scores
    assert rows["scheduler=DDIM"].verdict is Verdict.INCOMPARABLE
    assert "not applicable: it samples a diffusion model" in rows["scheduler=DDIM"].reason

    again = Counting()
    assert len(sweep_cases([case], variants, out=tmp_path / "run", renderer=again).rows) == 5
    assert again.seeds == []


def test_renders_that_share_weights_are_neighbours(case: Case) -> None:
    variants = product([parse_axis("steps=2,3"), parse_axis("network_multiplier=0.5,1,1.5")])
    planned = plan_sweep([case], variants, RunOptions(), "cpu")
    keys = [item.request.weights_key for item in planned if item.request is not None and item.same_as is None]
    changes = sum(a != b for a, b in itertools.pairwise(keys))
    assert changes == len(set(keys)) - 1 == 2


def test_an_axis_that_no_case_can_take_is_one_line(case: Case) -> None:
    bare = case.model_copy(update={"lora": None})
    with pytest.raises(HarnessError, match=r"cannot take lora_mode=fp32: lora_mode: the case has no LoRA"):
        plan_sweep([bare], singles("lora_mode=fp32"), RunOptions(), "cpu")
    with pytest.raises(HarnessError, match=r"cannot take generator=cuda: generator: it needs a GPU"):
        plan_sweep([case], singles("generator=cuda"), RunOptions(), "cpu")


def test_an_empty_sweep_is_one_line(case: Case) -> None:
    with pytest.raises(HarnessError, match=r"grid: the grid is empty; give --axis, --grid or --preset"):
        plan_sweep([case], [], RunOptions(), "cpu")


def test_the_trainers_version_implies_the_noise_where_it_pins_torch(case: Case) -> None:
    from harness.runs.plan import noise_of

    def recorded(software: str, **more: object) -> str:
        trained = case.trained.model_copy(update={"software": software})
        return noise_of(case.model_copy(update={"trained": trained, **more}))

    assert recorded("ai-toolkit 0.7.21") == "legacy"
    assert recorded("ai-toolkit 0.11.2") == "auto"
    assert recorded("ai-toolkit 0.12.26") == "current"
    assert recorded("ai-toolkit 0.7.21", noise="current") == "current"
