"""A Ray cluster of two worker processes, one of them killed; what is refused, and what a cluster decides."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import DeviceError, DeviceLostError, HarnessError, RenderError
from harness.pipeline.offload import GIB
from harness.runs.environment import environment
from harness.runs.machine import Machine
from harness.runs.plan import RunOptions, plan
from harness.runs.planned import Planned
from harness.runs.ray import Cluster, Facts
from harness.runs.render_cache import code_sha256
from harness.runs.run import run_cases
from harness.runs.scorer import Scorer
from harness.runs.scoring_pool import ScoringPool
from harness.runs.workers import RetryingRenderer
from harness.schema.case import Case
from harness.schema.render import OnStep, Render, Renderer, RenderRequest
from harness.schema.result import Row
from harness.sweeps.grid import Variant
from harness.sweeps.sweep import sweep_cases

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "ray_cluster.py"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray, the extra 'ray', is not installed")
def test_a_killed_worker_loses_and_doubles_no_row() -> None:
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, SCRIPT, "--cases", "5"], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = {line[:28].strip(): line[28:].split() for line in done.stdout.splitlines()}
    assert table["rows"] == ["5", "5"]
    assert table["workers killed"] == ["0", "1"]
    assert table["rows as those of one process"] == ["5"]


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HarnessError) as caught:
        run_cases([], out=tmp_path / "run", options=RunOptions(device="cpu", ray="local"))
    assert str(caught.value) == '--ray: needs Ray, which is not installed; pip install "flex2-harness[ray]"'
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RunOptions(ray_workers=2), "--ray-workers: needs --ray; give --ray ADDRESS too"),
        (RunOptions(ray="auto", gpus=("0",)), "--gpus: cannot be combined with --ray; give one of the two"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    tmp_path: Path, options: RunOptions, said: str
) -> None:
    with pytest.raises(HarnessError) as caught:
        run_cases([], out=tmp_path / "run", options=options)
    assert str(caught.value) == said


class LostError(Exception):
    """What Ray raises for an actor that cannot begin: several lines, the last one says why."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for Ray with two processors: what its actors say of themselves, and what was called."""
    state: dict[str, Any] = {"facts": None, "actors": 0, "left": False, "lost": False}
    fake: Any = ModuleType("ray")

    def remote(**_: Any) -> Any:
        def begin(*_: Any) -> Any:
            state["actors"] += 1
            methods = {
                name: SimpleNamespace(remote=lambda *_, name=name: name) for name in ("facts", "render")
            }
            return SimpleNamespace(**methods)

        return lambda _serving: SimpleNamespace(remote=begin)

    def get(asked: str) -> Any:
        if isinstance(state[asked], Exception):
            raise state[asked]
        return asked, state[asked]

    def kill(_: Any) -> None:
        if state["lost"]:
            raise ConnectionError("not connected")

    fake.init = lambda **_: None
    fake.cluster_resources = lambda: {"CPU": 2.0}
    fake.remote, fake.get, fake.kill = remote, get, kill
    fake.shutdown = lambda: state.update(left=True)
    fake.is_initialized = lambda: not state["lost"]
    monkeypatch.setitem(sys.modules, "ray", fake)
    return state


OTHER = Facts(1, "cpu", {}, "other sources", 0)
LOST = LostError("died in its creation task\n  traceback:\nModuleNotFoundError: No module named 'harness'\n")


@pytest.mark.parametrize(
    ("workers", "says", "said"),
    [
        (3, None, "--ray-workers: asked for 3 workers, and the cluster has room for 2"),
        (2, LOST, r"--ray: a Ray worker was lost \(ModuleNotFoundError: No module named 'harness'\)"),
        (2, OTHER, "--ray: a worker has other sources of the harness; every machine needs the same"),
    ],
)
def test_a_cluster_that_cannot_serve_is_left_with_one_line(
    cluster: dict[str, Any], workers: int, says: Any, said: str
) -> None:
    cluster["facts"] = says
    with pytest.raises(DeviceError, match=said) as caught:
        Cluster("auto", workers, "auto", lambda _: pytest.fail("nothing renders"))
    assert "\n" not in str(caught.value)
    assert cluster["left"]
    assert cluster["actors"] == (0 if says is None else 2), "all start before the first is waited for"


HERE = Facts(1, "cpu", {}, code_sha256(), 0)


@pytest.mark.parametrize(
    ("lost", "said"), [(True, "--ray: the cluster was lost"), (False, "a Ray worker was lost")]
)
def test_a_lost_cluster_ends_the_run_and_a_lost_worker_is_started_again(
    cluster: dict[str, Any], make_case: Callable[..., Case], lost: bool, said: str
) -> None:
    cluster["facts"] = HERE
    (actor,) = Cluster("auto", 1, "auto", lambda _: pytest.fail("nothing renders")).renderers
    (planned,) = plan([make_case("a")], RunOptions(device="cpu"), "cpu")
    assert planned.request is not None
    cluster.update(render=ConnectionError("is shutting down"), lost=lost)
    with pytest.raises(DeviceError if lost else DeviceLostError) as caught:
        RetryingRenderer(actor).render(planned.request)
    assert str(caught.value).startswith(f"{said} (is shutting down)")
    assert cluster["actors"] == (1 if lost else 2)
    RetryingRenderer(actor).close()


class Asked(Renderer):
    """A renderer on another machine that only takes note of what it is asked."""

    def __init__(self) -> None:
        self.requests: list[RenderRequest] = []

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        self.requests.append(request)
        raise RenderError("was asked")

    def close(self) -> None: ...


class Told:
    """A progress that remembers what was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, folder: Path, todo: list[Planned], done: int) -> None: ...

    def told(self, line: str) -> None:
        self.lines.append(line)

    def case_started(self, planned: Planned) -> None: ...

    def step_done(self, done: int, total: int) -> None: ...

    def case_done(self, row: Row) -> None: ...


def test_the_cluster_says_what_renders_and_not_the_machine_that_starts_the_run(
    make_case: Callable[..., Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here is no GPU, as on many a machine that starts a run; the cluster has two."""
    actors, workers, progress = [Asked(), Asked()], [], Told()
    facts = Facts(1, "cuda", environment("cpu"), code_sha256(), 8 * GIB)

    @contextmanager
    def machine(_: RunOptions) -> Iterator[Machine]:
        yield Machine("cuda", facts.environment, cast(Any, SimpleNamespace(renderers=actors, facts=facts)))

    def scoring(scorer: Scorer, _weights: Path | None, count: int) -> ScoringPool:
        workers.append(count)
        return ScoringPool(scorer, None, 0)

    monkeypatch.setattr("harness.runs.run.machine_of", machine)
    monkeypatch.setattr("harness.runs.session.ScoringPool", scoring)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    options = RunOptions(device="cuda", ray="auto", score_workers=None)
    variants = [Variant.of({"seed": 6})]
    sweep_cases([make_case("a")], variants, out=tmp_path / "run", options=options, progress=progress)
    requests = [request for actor in actors for request in actor.requests]
    assert {request.seed for request in requests} == {5, 6}
    assert {request.dtype for request in requests} == {None}, "the reference's rule on CUDA"
    assert workers == [8], "four for each GPU"
    (line,) = progress.lines
    assert line.endswith("8.0 GiB of GPU memory are free: offload none")
