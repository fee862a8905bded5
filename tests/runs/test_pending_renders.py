"""Renders that wait for their scores outlive the process, and no repeated command makes them again."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.errors import RunError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.case_runner import CaseRunner
from harness.runs.dispatch import dispatch
from harness.runs.pending_renders import FILE, PendingRenders
from harness.runs.plan import plan
from harness.runs.planned import Planned
from harness.runs.render_cache import RenderCache
from harness.runs.run import run_cases
from harness.schema.render import OnStep, Render, RenderRequest
from tests.full_disk import full
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU, Counting, seeded, told

COMMAND = "run cases --out run --device cpu --score-workers 2"

SLOW = """
import time
from harness.runs.scorer import Scorer

Scorer.run = lambda self, job: time.sleep(600)

if __name__ == "__main__":
    from harness.cli import main
    from harness.pipeline.renderer import ReferenceRenderer

    made = ReferenceRenderer.render

    def render(self, request, on_step=None):
        found = made(self, request, on_step)
        with open("made", "a") as stream:
            stream.write(f"{request.seed}\\n")
        return found

    ReferenceRenderer.render = render
    main()
"""
"""``harness``, whose scoring processes, which import this too, take ten minutes for an image."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_while_renders_wait_for_scores_makes_none_again(
    make_case: MakeCase, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    cases = seeded(make_case, 5)
    script, made, said = (tmp_path / name for name in ("slow.py", "made", "said"))
    script.write_text(SLOW)
    command = [sys.executable, script, *shlex.split(COMMAND)]
    with (
        said.open("wb") as out,
        subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True) as process,
    ):
        try:
            while not made.exists() or len(made.read_text().split()) < 4:
                assert process.poll() is None, said.read_text()
                time.sleep(0.05)
            process.send_signal(sent)
            assert process.wait(timeout=60) == code, "a run that waits for scores does not end"
        finally:
            process.kill()
    first = [int(seed) for seed in made.read_text().split()]
    assert first[:4] == [0, 1, 2, 3]
    assert not (tmp_path / "run/results.jsonl").exists()
    assert (said.read_text().count("interrupted: what was finished is saved") == 1) is (sent == signal.SIGINT)
    assert "Traceback" not in said.read_text()

    again = Counting()
    rows = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=again).rows
    assert set(first) | set(again.seeds) == set(range(5))
    assert len(first) + len(again.seeds) <= 6, "only the render in flight is made again"
    assert not list((tmp_path / "run").rglob(FILE))
    unbroken = run_cases(cases, out=tmp_path / "unbroken", options=CPU, renderer=Counting()).rows
    assert told(rows) == told(unbroken)


@pytest.fixture
def item(make_case: MakeCase) -> Planned:
    return plan([make_case("a")], CPU, "cpu")[0]


@pytest.fixture
def render(item: Planned) -> Render:
    assert item.request is not None
    return dataclasses.replace(
        ReferenceRenderer(device="cpu").render(item.request), key="0" * 64, warnings=("offloaded",)
    )


class Has:
    """A renderer that has its render already."""

    def __init__(self, render: Render) -> None:
        self._render = render

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        return self._render

    def close(self) -> None: ...


def test_what_several_renderers_finish_waits_while_another_render_is_stored(
    make_case: MakeCase, tmp_path: Path, render: Render
) -> None:
    planned = plan(seeded(make_case, 4), CPU, "cpu")
    cache = RenderCache(tmp_path / "run", None, writes=True)
    runner = CaseRunner(cast(Any, None), cache, CPU, {})
    deadline = time.monotonic() + 60
    with closing(dispatch(planned, [Has(render), Has(render)], runner.render)) as outcomes:
        next(outcomes)
        while len(list((tmp_path / "run").rglob(FILE))) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert all(cache.find(item) is not None for item in planned)


def test_what_waits_is_found_as_it_was_and_anything_else_is_removed(
    tmp_path: Path, make_case: MakeCase, item: Planned, render: Render
) -> None:
    pending = PendingRenders(tmp_path / "run")
    assert pending.find(item) is None
    pending.add(item, render)
    (file,) = (tmp_path / "run").rglob(FILE)
    found = pending.find(item)
    assert found is not None
    assert np.array_equal(found.image, render.image)
    assert found.latents is not None
    assert np.array_equal(found.latents, np.asarray(render.latents))
    assert dataclasses.replace(found, image=render.image, latents=render.latents) == render

    other = plan([make_case("a", settings={"seed": 6})], CPU, "cpu")[0]
    assert pending.find(other) is None, "the case was changed"
    assert not file.exists()
    pending.add(item, render)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"", whole.replace(b"about", b"abeut")):
        file.write_bytes(damaged)
        assert pending.find(item) is None
        assert not file.exists()


def test_no_render_waits_where_none_needs_to(tmp_path: Path, item: Planned, render: Render) -> None:
    RenderCache(tmp_path, None, writes=False).add(item, render)
    assert not list(tmp_path.rglob(FILE))


def test_a_fresh_run_takes_none_and_a_stored_row_needs_none(
    tmp_path: Path, item: Planned, render: Render
) -> None:
    run, counts = tmp_path / "run", Counting()
    pending = PendingRenders(run)
    run_cases([item.case], out=run, options=CPU, renderer=counts)
    pending.add(item, render)
    run_cases([item.case], out=run, options=CPU, renderer=counts)
    assert not list(run.rglob(FILE)), "its row had been stored before the process died"
    pending.add(item, render)
    run_cases([item.case], out=run, options=dataclasses.replace(CPU, fresh=True), renderer=counts)
    assert not list(run.rglob(FILE))
    assert counts.seeds == [5, 5]


def test_a_disk_without_room_for_a_waiting_render_is_one_line(
    tmp_path: Path, item: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runs.pending_renders.write_bytes", full)
    options = dataclasses.replace(CPU, score_workers=1)
    with pytest.raises(RunError, match="cannot go on: No space left on device") as caught:
        run_cases([item.case], out=tmp_path / "run", options=options, renderer=Counting())
    assert "\n" not in str(caught.value)
