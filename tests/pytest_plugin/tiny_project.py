"""A project of tiny cases: 64×64 pixels, two steps, on the embedded checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from harness._util.atomic_files import sha256_file
from harness.metrics.images import save_png
from harness.runs.plan import RunOptions, plan
from harness.runs.results import load_run
from harness.runs.scorer import Scorer, ScoringJob, ScoringResult
from harness.runs.scoring_pool import ScoringPool
from harness.schema.base import Base
from harness.schema.case import Case, save_case
from harness.schema.case_parts import LoraRef, Preview, SampleSettings, Trained
from harness.schema.render import Renderer
from harness.schema.result import Row

CASES = "cases"
PLAIN = f"{CASES}/plain.case.yaml"
DRIFTED = f"{CASES}/drifted.case.yaml"
INI = "[tool.pytest.ini_options]\n"
NO_REPORT = "--no-harness-report"
LORA = Path(__file__).parents[2] / "harness/data/jobs/emoji_inkprint/emoji_inkprint.safetensors"
EDGE = 64

NAMES: dict[str, dict[str, Any]] = {
    "drifted": {"seed": 3, "guidance_scale": 4.0},
    "lora_0": {"seed": 1, "lora": True},
    "lora_1": {"seed": 2, "lora": True},
    "plain": {"seed": 0},
}
ON_HUB = "on_hub"


def make_project(folder: Path, renderer: Renderer) -> list[Case]:
    """Write the cases, and previews that ``renderer`` draws for them; returns those that run on the CPU.

    ``drifted`` shows what another guidance scale draws. ``on_hub`` has a base that is not embedded.
    """
    cases = folder / CASES
    cases.mkdir()
    shutil.copyfile(LORA, cases / LORA.name)
    made = [_make(cases, name, renderer, **facts) for name, facts in NAMES.items()]
    hub = made[-1].model_copy(
        update={"id": f"tiny/{ON_HUB}", "base": Base(repo="ostris/Flex.2-preview", revision="0" * 40)}
    )
    save_case(hub, cases / f"{ON_HUB}.case.yaml")
    return made


def _make(
    cases: Path, name: str, renderer: Renderer, *, seed: int, guidance_scale: float = 3.0, lora: bool = False
) -> Case:
    settings = SampleSettings(
        prompt="a large cat", width=EDGE, height=EDGE, seed=seed, sample_steps=2, guidance_scale=3.0
    )
    image = cases / f"{name}.png"
    draft = Case(
        id=f"tiny/{name}",
        base=Base(embedded="tiny-flex2-emoji"),
        preview=Preview(file=image.name, sha256="0" * 64, width=EDGE, height=EDGE),
        lora=LoraRef(file=LORA.name, sha256=sha256_file(LORA)) if lora else None,
        settings=settings,
        trained=Trained(dtype="bf16"),
    )
    path = cases / f"{name}.case.yaml"
    request = plan([save_case(draft, path)], RunOptions(device="cpu"), "cpu")[0].request
    assert request is not None
    save_png(image, renderer.render(dataclasses.replace(request, guidance_scale=guidance_scale)).image)
    preview = draft.preview.model_copy(update={"sha256": sha256_file(image)})
    return save_case(draft.model_copy(update={"preview": preview}), path)


class Slow(ScoringPool):
    """Has no scores before somebody waits for them."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer, None, 0)

    def submit(self, job: ScoringJob) -> Future[ScoringResult]:
        """Begin nothing."""
        return Future()

    def result(self, job: ScoringJob, future: Future[ScoringResult]) -> ScoringResult:
        """Score."""
        return self._scorer.run(job)


def only_run(project: Path) -> Path:
    """Return the newest run folder of the project."""
    return sorted((project / "reports").iterdir(), key=lambda path: path.stat().st_mtime)[-1]


def rows(run: Path) -> dict[str, Row]:
    """Return a run's rows by case."""
    return {row.case: row for row in load_run(run).rows}


def output(result: pytest.RunResult) -> str:
    """Return what an inner pytest printed."""
    return "\n".join([*result.outlines, *result.errlines])
