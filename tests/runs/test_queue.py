"""Scoring beside rendering: the same rows in the same order, and nothing lost when something breaks."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ImageError, LoraError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs import scoring_pool
from harness.runs.plan import RunOptions
from harness.runs.results import load_run
from harness.runs.run import run_cases
from harness.runs.run_files import read_rows
from harness.runs.scorer import Scorer, ScoringJob, ScoringResult
from harness.runs.scoring_pool import ScoringPool
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Images, Row
from tests.runs.conftest import MakeCase

CPU = RunOptions(device="cpu", fresh=True)
UNMOVED = {"seconds": {}, "render_key": None}


class KillsAScorer(ReferenceRenderer):
    """Renders; before the last render it kills a process of the pool."""

    pool: ScoringPool | None = None

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed == 2 and self.pool is not None:
            os.kill(next(iter(self.pool._processes._processes)), signal.SIGKILL)
        return super().render(request, on_step)


def told(rows: list[Row]) -> list[Row]:
    return [row.model_copy(update=UNMOVED) for row in rows]


def test_scoring_in_processes_gives_the_rows_of_scoring_here(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(3)]
    cases.append(make_case("other", size=(112, 128)))
    cases.append(make_case("gone", incomparable="pruned"))
    here = run_cases(cases, out=tmp_path / "here", options=CPU)
    beside = dataclasses.replace(CPU, score_workers=1)
    there = run_cases(cases, out=tmp_path / "there", options=beside)
    assert told(there.rows) == told(here.rows)
    assert told(read_rows(tmp_path / "there")) == told(read_rows(tmp_path / "here")), "in the same order too"
    for file in (tmp_path / "here").rglob("*.png"):
        assert (tmp_path / "there" / file.relative_to(tmp_path / "here")).read_bytes() == file.read_bytes()

    renderer = KillsAScorer(device="cpu")

    def remembered(scorer: Scorer, weights: Path | None, workers: int) -> ScoringPool:
        renderer.pool = ScoringPool(scorer, weights, workers)
        return renderer.pool

    monkeypatch.setattr("harness.runs.session.ScoringPool", remembered)
    killed = run_cases(cases, out=tmp_path / "killed", options=beside, renderer=renderer)
    assert told(killed.rows) == told(here.rows), "a dead worker's images are scored in this process"


class Unused(Scorer):
    """Must not be asked: a process scores."""

    def run(self, job: ScoringJob) -> ScoringResult:
        raise AssertionError("the process died")


@pytest.mark.usefixtures("ctrl_c")
def test_a_scoring_process_never_hears_ctrl_c(
    make_case: MakeCase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal sends it to every process, also to one that has only begun to start."""
    case = make_case("a")
    image = np.zeros((64, 64, 3), np.uint8)
    preview = case.preview_path.relative_to(tmp_path).as_posix()
    pool = ScoringPool(Unused(), None, 1)
    job = ScoringJob(tmp_path, Images(preview=preview, rerun="rerun.png"), image, comparable=True)
    future = pool.submit(job)
    os.kill(next(iter(pool._processes._processes)), signal.SIGINT)
    assert pool.result(job, future).scored is not None
    pool.close()
    assert capfd.readouterr().err == ""


class Slow(ScoringPool):
    """Scores only when a result is waited for; fails at the seed that it is told."""

    def __init__(self, scorer: Scorer, bad: str | None = None) -> None:
        super().__init__(scorer, None, 0)
        self.depth = 2
        self.bad = bad

    def submit(self, job: ScoringJob) -> Future[ScoringResult]:
        return Future()

    def result(self, job: ScoringJob, future: Future[ScoringResult]) -> ScoringResult:
        if self.bad is not None and self.bad in str(job.images.rerun):
            raise ImageError("was changed while the run went on", file=job.images.preview)
        return self._scorer.run(job)


class Stops(ReferenceRenderer):
    """Fails at the fourth render, in a way that ends the run."""

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed == 3:
            raise LoraError("does not fit")
        return super().render(request, on_step)


@pytest.mark.parametrize(
    ("bad", "error", "seeds"), [(None, LoraError, [0, 1, 2]), ("s1", ImageError, [0, 2])]
)
def test_what_was_rendered_is_stored_before_a_failure_ends_a_run(
    make_case: MakeCase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: str | None,
    error: type[BaseException],
    seeds: list[int],
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(4)]
    monkeypatch.setattr("harness.runs.session.ScoringPool", lambda scorer, *_: Slow(scorer, bad))
    with pytest.raises(error):
        run_cases(cases, out=tmp_path / "run", options=CPU, renderer=Stops(device="cpu"))
    assert [row.settings["seed"] for row in load_run(tmp_path / "run").rows] == seeds


def test_the_renderer_is_closed_beside_the_last_scores(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Closing(ReferenceRenderer):
        def close(self) -> None:
            said.append("closed")
            super().close()

    class Scoring(Slow):
        def result(self, job: ScoringJob, future: Future[ScoringResult]) -> ScoringResult:
            said.append("scored")
            return super().result(job, future)

    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(3)]
    monkeypatch.setattr("harness.runs.session.ScoringPool", lambda scorer, *_: Scoring(scorer))
    run_cases(cases, out=tmp_path / "run", options=CPU, renderer=Closing(device="cpu"))
    assert said == ["scored", "closed", "scored", "scored"]


ORPHANS = """
import os, signal
from harness.runs.scorer import Scorer
from harness.runs.scoring_pool import ScoringPool

if __name__ == "__main__":
    pool = ScoringPool(Scorer(), None, 1)._processes
    pool.submit(os.getpid).result()
    print(*pool._processes, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_no_scoring_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    killed = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, check=False)
    assert killed.returncode == -signal.SIGKILL
    (worker,) = map(int, killed.stdout.split())
    deadline = time.monotonic() + 120
    while Path(f"/proc/{worker}").exists() and _state(worker) != "Z":
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.1)


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_no_more_processes_score_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(scoring_pool, "_start", lambda workers, *_: started.append(workers))
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    depths = [ScoringPool(Scorer(), None, asked).depth for asked in (2, 99_999_999)]
    assert (started, depths) == ([2, 3], [4, 6])
