from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import LoraError, RenderError
from harness.runs.results import load_run
from harness.runs.run import run_cases
from harness.schema.case import load_cases
from harness.schema.result import Verdict
from tests.runs.conftest import MakeCase
from tests.runs.counting import ANYTHING, CPU, Counting, by_name, images, seeded


def test_an_interrupted_run_goes_on_where_it_stopped(make_case: MakeCase, tmp_path: Path) -> None:
    cases = seeded(make_case)
    whole = run_cases(cases, out=tmp_path / "whole", options=CPU)
    first = Counting({2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run_cases(cases, out=tmp_path / "run", options=CPU, renderer=first)
    assert first.closed == 1
    assert len(load_run(tmp_path / "run").rows) == 2
    with (tmp_path / "run" / "results.jsonl").open("a") as stream:
        stream.write('{"case": "small/s2", "ver')
    second = Counting()
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=second)
    assert (first.seeds, second.seeds) == ([0, 1], [2, 3])
    assert images(tmp_path / "run") == images(tmp_path / "whole")
    unmoved = {"seconds": {}, "images": None, "render_key": None}
    assert [row.model_copy(update=unmoved) for row in result.rows] == [
        row.model_copy(update=unmoved) for row in whole.rows
    ]
    third = Counting()
    again = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=third)
    assert third.seeds == []
    assert again.rows == result.rows


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.schema.case import load_cases
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.run import run_cases
from harness.runs.plan import RunOptions

class Doomed(ReferenceRenderer):
    def render(self, request, on_step=None):
        def step(done, total):
            if request.seed == 2 and done == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().render(request, step)

cases = load_cases([Path(sys.argv[1])])
run_cases(cases, out=Path(sys.argv[2]), options=RunOptions(device="cpu"), renderer=Doomed(device="cpu"))
"""


def test_a_process_killed_amid_a_render_loses_that_render_only(make_case: MakeCase, tmp_path: Path) -> None:
    cases = seeded(make_case)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cases"), str(tmp_path / "run")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [row.settings["seed"] for row in load_run(tmp_path / "run").rows] == [0, 1]
    renderer = Counting()
    run_cases(cases, out=tmp_path / "run", options=CPU, renderer=renderer)
    assert renderer.seeds == [2, 3]
    run_cases(cases, out=tmp_path / "whole", options=CPU)
    assert images(tmp_path / "run") == images(tmp_path / "whole")


def test_a_render_that_fails_is_a_row_and_is_tried_again(make_case: MakeCase, tmp_path: Path) -> None:
    cases = seeded(make_case, 3, tolerance=ANYTHING)
    broken = Counting({1: RenderError("out of memory\non the GPU")})
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=broken)
    assert broken.seeds == [0, 2]
    row = by_name(result)["s1"]
    assert (row.verdict, row.reason, row.scores) == (Verdict.ERROR, "out of memory on the GPU", None)
    assert result.exit_code == 3
    mended = Counting()
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=mended)
    assert mended.seeds == [1]
    assert result.exit_code == 0


def test_bad_input_found_while_rendering_stops_the_run(make_case: MakeCase, tmp_path: Path) -> None:
    broken = Counting({1: LoraError("is gone")})
    with pytest.raises(LoraError):
        run_cases(seeded(make_case, 3), out=tmp_path / "run", options=CPU, renderer=broken)
    assert (broken.seeds, broken.closed) == ([0], 1)
    assert len(load_run(tmp_path / "run").rows) == 1


def test_a_changed_case_is_rendered_again(make_case: MakeCase, tmp_path: Path) -> None:
    run_cases(seeded(make_case, 2), out=tmp_path / "run", options=CPU)
    changed = make_case("s1", settings={"seed": 7})
    renderer = Counting()
    cases = load_cases([tmp_path / "cases"])
    result = run_cases(cases, out=tmp_path / "run", options=CPU, renderer=renderer)
    assert renderer.seeds == [7]
    assert by_name(result)["s1"].description.model_dump() == changed.model_dump()
