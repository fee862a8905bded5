"""A CUDA error that poisons its process: what it rendered is begun again in a new process.

There is no GPU here: the errors are torch's own types, raised where the pipeline is called.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import harness.pipeline.renderer
from harness.errors import DeviceLostError, RenderError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions, plan
from harness.runs.progress import Progress
from harness.runs.run import run_cases
from harness.runs.worker_process import WorkerProcess
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Verdict
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU


def poisoned(error: Exception, seed: int) -> Callable[..., Any]:
    """Return a pipeline call that fails for one seed, and afterwards for all of them, as CUDA does."""
    lost = False

    def call(loaded: Any, request: Any, *arguments: Any) -> Any:
        nonlocal lost
        lost = lost or request.seed == seed
        if lost:
            raise error
        return REAL(loaded, request, *arguments)

    return call


REAL = harness.pipeline.renderer.infer
ILLEGAL = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


@pytest.mark.usefixtures("ready_processes")
def test_the_run_goes_on_in_a_new_process(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(3)]
    whole = run_cases(cases, out=tmp_path / "whole" / "run", options=CPU)
    monkeypatch.setattr(harness.pipeline.renderer, "infer", poisoned(ILLEGAL, 1))
    steps: list[Any] = []

    class Seen(Progress):
        def started(self, *_: Any) -> None: ...
        def case_started(self, *_: Any) -> None: ...
        def case_done(self, *_: Any) -> None: ...
        def step_done(self, *step: int) -> None:
            steps.append(step)

    result = run_cases(cases, out=tmp_path / "run", options=CPU, progress=Seen())
    assert [row.image_sha256 for row in result.rows] == [row.image_sha256 for row in whole.rows]
    assert steps == [(1, 2), (2, 2)] * 3


@pytest.mark.usefixtures("ready_processes")
def test_a_render_that_loses_every_process_is_an_error_and_the_rest_goes_on(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(3)]
    monkeypatch.setattr("harness.runs.workers.make_renderer", loses_seed_one)
    result = run_cases(cases, out=tmp_path / "run", options=CPU)
    assert result.exit_code == 3
    first, second, third = result.rows
    assert second.verdict is Verdict.ERROR
    assert "died" in second.reason
    assert Verdict.ERROR not in (first.verdict, third.verdict)


class LosesSeedOne(ReferenceRenderer):
    """Ends a process of its own, and loses the GPU of the test's."""

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        if request.seed == 1:
            if multiprocessing.parent_process() is None:
                raise DeviceLostError("the GPU died")
            os._exit(9)
        return super().render(request, on_step)


def loses_seed_one(options: RunOptions, device: str, _first: object = None) -> ReferenceRenderer:
    return LosesSeedOne(device=device)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ILLEGAL, DeviceLostError),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceLostError),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RenderError),
        (torch.AcceleratorError("CUDA error: out of memory"), RenderError),
        (ValueError("shapes differ"), RenderError),
    ],
)
def test_which_errors_take_the_gpu_along(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[RenderError]
) -> None:
    monkeypatch.setattr(harness.pipeline.renderer, "infer", poisoned(error, 5))
    request = plan([make_case("a")], CPU, "cpu")[0].request
    assert request is not None
    with pytest.raises(RenderError, match=r"the pipeline failed|memory does not suffice") as caught:
        ReferenceRenderer(device="cpu").render(request)
    assert type(caught.value) is kind


def test_a_worker_that_dies_is_a_lost_device(make_case: MakeCase) -> None:
    request = plan([make_case("a", settings={"sample_steps": 150})], CPU, "cpu")[0].request
    assert request is not None
    worker = WorkerProcess(partial(ReferenceRenderer, device="cpu"))

    def kill(*_: int) -> None:
        os.kill(worker._process.pid, signal.SIGKILL)

    with pytest.raises(DeviceLostError, match=r"the worker process died \(-9\)"):
        worker.render(request, kill)
    worker.close()
