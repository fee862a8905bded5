"""Several renderers: every row once and as one renderer makes them, also when a process is killed."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DeviceLostError, LoraError, RenderError
from harness.runs.dispatch import chunks, dispatch
from harness.runs.plan import RunOptions, plan
from harness.runs.planned import Planned
from harness.runs.results import load_run
from harness.runs.run import run_cases
from harness.runs.run_files import read_rows
from harness.runs.worker_process import WorkerProcess
from harness.runs.workers import RetryingRenderer, WorkerPool
from harness.schema.render import OnStep, Render, RenderRequest
from harness.schema.result import Row
from tests.runs.conftest import MakeCase

CPU = RunOptions(device="cpu", fresh=True)


TWO = dataclasses.replace(CPU, gpus=("0", "1"))


def remember(made: list[WorkerProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect the worker processes that a run makes."""
    monkeypatch.setattr(
        "harness.runs.workers.WorkerProcess", lambda *new: made.append(WorkerProcess(*new)) or made[-1]
    )


def told(rows: list[Row]) -> list[Row]:
    return [row.model_copy(update={"seconds": {}}) for row in rows]


class KillsOne:
    """A progress that kills a rendering process when the first row is stored."""

    def __init__(self, workers: list[WorkerProcess]) -> None:
        self._workers = workers
        self.killed = 0

    def started(self, folder: Path, planned: list[Planned], done: int) -> None: ...

    def told(self, line: str) -> None: ...

    def case_started(self, planned: Planned) -> None: ...

    def step_done(self, done: int, total: int) -> None: ...

    def case_done(self, row: Row) -> None:
        if not self.killed and (process := self._workers[0]._process) is not None:
            os.kill(process.pid, signal.SIGKILL)
            self.killed += 1


@pytest.mark.usefixtures("ready_processes")
def test_two_processes_one_killed_give_every_row_once_and_as_one_does(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(8)]
    cases += [make_case("lora", lora=300), make_case("gone", incomparable="pruned")]
    workers: list[WorkerProcess] = []
    remember(workers, monkeypatch)
    killer = KillsOne(workers)
    result = run_cases(cases, out=tmp_path / "two", options=TWO, progress=killer)
    assert (len(workers), killer.killed) == (2, 1)
    assert [worker._environment for worker in workers] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
    ]
    one = run_cases(cases, out=tmp_path / "one", options=CPU)
    assert told(result.rows) == told(one.rows)
    lines = (tmp_path / "two/results.jsonl").read_text().splitlines()
    assert len(lines) == len(cases), "no row is doubled"
    assert told(read_rows(tmp_path / "two")) == told(read_rows(tmp_path / "one")), "in the order of the plan"
    for file in (tmp_path / "one").rglob("*.png"):
        assert (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes() == file.read_bytes()


class Fails:
    """Fails at every render as it is told to; counts."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.tried = self.closed = 0

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        self.tried += 1
        raise self._error

    def close(self) -> None:
        self.closed += 1


def request(make_case: MakeCase) -> RenderRequest:
    (planned,) = plan([make_case("a")], CPU, "cpu")
    assert planned.request is not None
    return planned.request


@pytest.mark.parametrize(("error", "tries"), [(DeviceLostError("died"), 2), (RenderError("failed"), 1)])
def test_only_a_lost_process_is_tried_again_and_not_for_ever(
    make_case: MakeCase, error: RenderError, tries: int
) -> None:
    renderer = Fails(error)
    with pytest.raises(type(error)):
        RetryingRenderer(renderer).render(request(make_case))
    assert renderer.tried == tries
    assert renderer.closed == (tries if tries > 1 else 0)


@pytest.mark.parametrize("error", [LoraError("does not fit"), RenderError("failed")])
def test_bad_input_stops_every_renderer_and_a_failed_render_none(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: LoraError | RenderError
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(4)]
    monkeypatch.setattr(WorkerPool, "__init__", _pool_of([Fails(error), Fails(error)]))
    if isinstance(error, LoraError):
        with pytest.raises(LoraError):
            run_cases(cases, out=tmp_path / "run", options=TWO)
        assert load_run(tmp_path / "run").rows == []
    else:
        rows = run_cases(cases, out=tmp_path / "run", options=TWO).rows
        assert [row.reason for row in rows] == ["failed"] * 4


def _pool_of(renderers: list[Fails]) -> Callable[..., None]:
    def begin(self: WorkerPool, *_: object) -> None:
        self.renderers = list(renderers)
        self._closed = False

    return begin


class Waits:
    """Renders nothing, and ends when it is let."""

    def __init__(self, begun: list[int], let: threading.Semaphore) -> None:
        self._begun, self._let = begun, let

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Any:
        self._begun.append(request.seed)
        assert self._let.acquire(timeout=60)
        return request.seed

    def close(self) -> None: ...


def test_a_failed_render_lets_the_others_finish_what_they_have_begun(make_case: MakeCase) -> None:
    planned = plan([make_case(f"s{seed}", settings={"seed": seed}) for seed in range(8)], CPU, "cpu")
    begun: list[int] = []
    let = threading.Semaphore(0)
    threading.Timer(1.0, let.release, (8,)).start()
    seen: list[Any] = []
    outcomes = dispatch(planned, [Waits(begun, let), Fails(LoraError("no fit"))], render)
    with pytest.raises(LoraError):
        seen.extend(outcome for _, outcome in outcomes)
    assert seen == begun
    assert len(begun) == 1, "no more begin"


def render(item: Planned, renderer: Any) -> Any:
    return renderer.render(item.request)


@pytest.mark.parametrize("error", [LoraError("does not fit"), KeyboardInterrupt()])
def test_a_caller_that_stops_waits_for_no_render(make_case: MakeCase, error: BaseException) -> None:
    planned = plan([make_case(f"s{seed}", settings={"seed": seed}) for seed in range(8)], CPU, "cpu")
    begun: list[int] = []
    let = threading.Semaphore(1)
    renderers = [Waits(begun, let), Waits(begun, let)]

    def stop() -> None:
        with closing(dispatch(planned, renderers, render)) as outcomes:
            for _ in outcomes:
                raise error

    with pytest.raises(type(error)):
        stop()
    assert 2 <= len(begun) <= 3, "one that ended, and one or two that were under way; no more begin"
    let.release(8)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_amid_long_renders_ends_their_processes_for_good(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case("short"), make_case("long", settings={"sample_steps": 150}, size=(512, 512))]
    made: list[WorkerProcess] = []
    monkeypatch.setattr(
        "harness.runs.workers.WorkerProcess", lambda *new: made.append(WorkerProcess(*new)) or made[-1]
    )

    class Presses(KillsOne):
        def case_done(self, row: Row) -> None:
            self.killed += 1
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_cases(cases, out=tmp_path / "run", options=TWO, progress=Presses([]))
    assert [row.case for row in read_rows(tmp_path / "run")] == ["small/short"]
    for thread in threading.enumerate():
        if "work" in thread.name:
            thread.join(60)
    assert [worker._process for worker in made] == [None, None], "none was started again"


def test_whatever_a_renderer_raises_ends_the_run(make_case: MakeCase) -> None:
    planned = plan([make_case("a")], CPU, "cpu")
    caught: list[BaseException] = []

    def run() -> None:
        try:
            failing = [Fails(IndexError("out of range")), Fails(IndexError("out of range"))]
            list(dispatch(planned, failing, render))
        except IndexError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert [str(error) for error in caught] == ["out of range"], "the run waits for ever"


def test_chunks_share_weights_and_leave_nobody_waiting_long(make_case: MakeCase) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(8)]
    cases += [make_case(f"l{seed}", lora=300, settings={"seed": seed}) for seed in range(8)]
    planned = plan(cases, CPU, "cpu")
    found = chunks(planned, 2)
    assert [item for part in found for item in part] == planned
    assert {len(part) for part in found} == {2}
    for part in found:
        assert len({item.request.weights_key for item in part if item.request}) == 1
    assert chunks([], 2) == []
