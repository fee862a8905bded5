"""Scores tell settings apart: one genuine preview against re-runs with one wrong setting each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.metrics.lpips import Lpips
from harness.metrics.score_pair import score_pair
from harness.metrics.scores import Scores
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, plan
from harness.schema.case import Case, load_cases
from harness.schema.render import Lora, RenderRequest, Shift

# In the order of PSNR, dB: 40.5, 37.7, 36.5, 35.9, 30.0, 17.3, 13.4, 12.5, 11.5, 10.3, 10.2, 10.0, 9.0.
# Which of a group is nearer depends on how the CPU rounds bf16. Between groups the order must hold.
GROUPS = [
    ["correct"],
    ["fp32 for bf16", "static shift 3", "15 steps"],
    ["guidance 3.5"],
    ["multiplier .9"],
    [
        "seed 43", "trigger removed", "step-100 checkpoint", "multiplier .5", "[trigger] left literal",
        "step-300 checkpoint", "no LoRA",
    ],
]  # fmt: skip
WRONG = [name for group in GROUPS[1:] for name in group]


@pytest.fixture(scope="module")
def cases(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Case]:
    """Prompt 0 of the shipped job, by step."""
    out = tmp_path_factory.mktemp("wrong") / "cases"
    import_job(jobs["inkprint"], out=out)
    return {case.preview.step or 0: case for case in load_cases([out]) if case.preview.index == 0}


def requests(cases: dict[int, Case]) -> dict[str, RenderRequest]:
    request = plan([cases[200]], RunOptions(), "cpu")[0].request
    assert request is not None
    assert request.lora is not None
    request = dataclasses.replace(request, t5_attention="sdpa")  # as the shipped job was sampled

    def lora_of(step: int) -> Lora:
        case = cases[step]
        assert case.lora is not None
        assert case.lora_path is not None
        return Lora(case.lora_path, case.lora.sha256, 1.0)

    prompt = request.prompt
    assert "inkprint" in prompt
    changes: dict[str, dict[str, object]] = {
        "correct": {},
        "static shift 3": {"shift": Shift(dynamic_shifting=False)},
        "fp32 for bf16": {"dtype": "fp32"},
        "multiplier .9": {"lora": dataclasses.replace(request.lora, network_multiplier=0.9)},
        "multiplier .5": {"lora": dataclasses.replace(request.lora, network_multiplier=0.5)},
        "15 steps": {"sample_steps": 15},
        "guidance 3.5": {"guidance_scale": 3.5},
        "step-300 checkpoint": {"lora": lora_of(300)},
        "step-100 checkpoint": {"lora": lora_of(100)},
        "[trigger] left literal": {"prompt": prompt.replace("inkprint", "[trigger]")},
        "trigger removed": {"prompt": prompt.replace("inkprint", "")},
        "no LoRA": {"lora": None},
        "seed 43": {"seed": 43},
    }
    return {name: dataclasses.replace(request, **change) for name, change in changes.items()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(cases: dict[int, Case], renderer: ReferenceRenderer) -> dict[str, Scores]:
    """Codec-matched scores by setting; prints itself where a test fails or with -s."""
    lpips = Lpips()
    scores = {}
    for name, request in sorted(requests(cases).items(), key=lambda entry: entry[1].weights_key):
        image = renderer.render(request).image
        scores[name] = score_pair(cases[200].preview_path, image, lpips).matched
    for name in ["correct", *WRONG]:
        found = scores[name]
        print(f"{name:24} {found.psnr:5.1f} dB  SSIM {found.ssim:.3f}  LPIPS {found.lpips:.4f}")
    return scores


def psnr(scores: Scores) -> float:
    return float("inf") if scores.psnr is None else scores.psnr


def test_the_table_is_whole(table: dict[str, Scores]) -> None:
    assert sorted(table) == sorted(["correct", *WRONG])


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_setting_scores_worse(table: dict[str, Scores], name: str) -> None:
    assert psnr(table[name]) < psnr(table["correct"]) - 1


@pytest.mark.parametrize("name", [name for name in WRONG if name not in GROUPS[1]])
def test_what_changes_the_picture_is_seen_by_every_metric(table: dict[str, Scores], name: str) -> None:
    """SSIM and LPIPS hardly separate the mildest from correct, so those are left to PSNR."""
    assert table[name].ssim < table["correct"].ssim
    assert table[name].lpips > table["correct"].lpips


@pytest.mark.parametrize("worse", range(1, len(GROUPS)))
def test_the_groups_come_in_order(table: dict[str, Scores], worse: int) -> None:
    lowest_before = min(psnr(table[name]) for name in GROUPS[worse - 1])
    assert max(psnr(table[name]) for name in GROUPS[worse]) < lowest_before
