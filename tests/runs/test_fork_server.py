"""Renders on the CPU by several processes, which are forked from one that imports libraries."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.errors import DeviceLostError, HarnessError
from harness.runs.fork_server import MAX_PROCESSES, useful_processes
from harness.runs.plan import plan
from harness.runs.run import run_cases
from harness.runs.worker_process import WorkerProcess
from harness.runs.workers import make_renderer
from harness.schema.render import Renderer
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="no process is forked here"
)


def test_several_processes_make_the_rows_of_one(make_case: MakeCase, tmp_path: Path) -> None:
    cases = [
        make_case(f"s{number}", settings={"seed": number}, lora=300 if number > 2 else None)
        for number in range(5)
    ]
    one = run_cases(cases, out=tmp_path / "one" / "run", options=CPU)
    several = run_cases(cases, out=tmp_path / "run", options=dataclasses.replace(CPU, cpu_processes=2))
    assert [row.image_sha256 for row in several.rows] == [row.image_sha256 for row in one.rows]
    assert [row.case for row in several.rows] == [row.case for row in one.rows]
    assert len({row.image_sha256 for row in one.rows}) == 5


def test_a_process_that_died_is_forked_again(make_case: MakeCase) -> None:
    (item,) = plan([make_case("case")], CPU, "cpu")
    assert item.request is not None
    process = WorkerProcess(partial(make_renderer, CPU, "cpu"), forked=True)
    first = process.render(item.request)
    assert process._process is not None
    os.kill(process._process.pid or 0, 9)
    with pytest.raises(DeviceLostError):
        process.render(item.request)
    process.close()
    assert process.render(item.request).latents_sha256 == first.latents_sha256
    process.close()


def test_a_forked_process_has_the_libraries_and_collects_no_garbage_meanwhile(make_case: MakeCase) -> None:
    (item,) = plan([make_case("case")], CPU, "cpu")
    assert item.request is not None
    process = WorkerProcess(says_what_is_imported, forked=True)
    with pytest.raises(HarnessError, match="imported: True, collector: False"):
        process.render(item.request)
    process.close()


def says_what_is_imported() -> Renderer:
    imported = "harness.pipeline.renderer" in sys.modules
    raise HarnessError(f"imported: {imported}, collector: {gc.isenabled()}")


def test_no_more_processes_than_cores() -> None:
    assert 1 <= useful_processes() <= min(MAX_PROCESSES, os.cpu_count() or 1)
