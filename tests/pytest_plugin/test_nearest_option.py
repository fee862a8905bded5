"""``--harness-neighbours``: previews without their checkpoint are never green, and red where outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.schema.case import load_case, save_case
from harness.schema.case_parts import Neighbour
from tests.pytest_plugin.tiny_project import CASES, NO_REPORT, only_run, output, rows


@pytest.fixture
def pruned(project: Path) -> Path:
    """The project with one preview whose LoRA is gone, and another of which the guidance is wrong too."""
    for path in (project / CASES).glob("*.case.yaml"):
        case = load_case(path)
        path.unlink()
        if case.id != "tiny/lora_0":
            continue
        assert case.lora is not None
        around = [
            Neighbour(step=step, lora=case.lora.model_copy(update={"network_multiplier": scale}))
            for step, scale in ((1, 0.95), (3, 1.05))
        ]
        gone = {"lora": None, "neighbours": around, "incomparable": "the checkpoint of step 2 is missing"}
        for name, guidance in (("right", 3.0), ("wrong", 7.0)):
            settings = case.settings.model_copy(update={"guidance_scale": guidance})
            changed = case.model_copy(update={**gone, "id": f"tiny/{name}", "settings": settings})
            save_case(changed, path.with_name(f"{name}.case.yaml"))
    return project


def test_between_its_neighbours_is_an_expected_failure_and_outside_a_failure(
    pruned: Path, pytester: pytest.Pytester
) -> None:
    result = pytester.runpytest_inprocess(
        CASES, "-rx", "--harness-neighbours", "--harness-results=run", NO_REPORT
    )
    result.assert_outcomes(xfailed=1, failed=1)
    said = output(result)
    assert "nearest checkpoints: step 1 SSIM" in said
    assert "outside; something beside the checkpoint differs" in said
    found = rows(pruned / "run")
    assert {name: row.nearest.place for name, row in found.items() if row.nearest} == {
        "tiny/right": "bracketed",
        "tiny/wrong": "outside",
    }


def test_without_the_option_nothing_is_rendered(pruned: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(CASES, NO_REPORT)
    result.assert_outcomes(failed=2)
    assert all(row.nearest is None and row.ssim is None for row in rows(only_run(pruned)).values())
