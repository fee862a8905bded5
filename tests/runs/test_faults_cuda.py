"""A card without memory and a lost card, for real: what CUDA itself says and does then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import harness.pipeline.renderer
from harness.runs.plan import RunOptions
from harness.runs.results import load_run
from harness.runs.run import run_cases
from harness.schema.render import RenderRequest
from harness.schema.result import Verdict
from tests.runs.conftest import MakeCase

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CUDA = RunOptions(device="cuda", engine="eager")


@contextmanager
def full_card() -> Iterator[None]:
    """Take all of the card that torch can get, down to the last free block of its own."""
    held: list[torch.Tensor] = []
    size, _ = torch.cuda.mem_get_info()
    while size >= 512:
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size //= 2
    try:
        yield
    finally:
        held.clear()
        torch.cuda.empty_cache()


def test_a_full_card_falls_back_once_then_fails_its_case_and_the_run_goes_on(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(5)]
    whole = run_cases(cases, out=tmp_path / "whole" / "run", options=replace(CUDA, offload="model"))
    full, real = [1, 3], harness.pipeline.renderer.infer

    def call(loaded: Any, request: RenderRequest, *more: Any) -> Any:
        if request.seed not in full:
            return real(loaded, request, *more)
        full.remove(request.seed)
        with full_card():
            return real(loaded, request, *more)

    monkeypatch.setattr(harness.pipeline.renderer, "infer", call)
    result = run_cases(cases, out=tmp_path / "run", options=CUDA)
    assert full == []
    assert result.exit_code == 3
    assert [row.rendered and row.rendered.offload for row in result.rows] == [
        "none", "model", "model", None, "model",
    ]  # fmt: skip
    lacking = result.rows[3]
    assert lacking.verdict is Verdict.ERROR
    assert "the GPU's memory does not suffice with offload model: CUDA out of memory" in lacking.reason
    fell_back = "out of GPU memory with offload none; went on with offload model"
    for row, same in zip(result.rows, whole.rows, strict=True):
        if row.rendered is not None and row.rendered.offload == "model":
            assert row.warnings == [fell_back]
            assert row.image_sha256 == same.image_sha256


LOSING = """
import sys
from pathlib import Path
import torch
import harness.pipeline.renderer
from harness.schema.case import load_cases
from harness.runs.run import run_cases
from harness.runs.plan import RunOptions

real = harness.pipeline.renderer.infer

def call(loaded, request, *more):
    if request.seed == 1:
        torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].cpu()
    return real(loaded, request, *more)

harness.pipeline.renderer.infer = call
options = RunOptions(device="cuda", engine="eager")
sys.exit(run_cases(load_cases([Path("cases")]), out=Path("run"), options=options).exit_code)
"""


def test_what_a_device_side_assert_lost_is_rendered_in_a_new_process(
    make_case: MakeCase, tmp_path: Path
) -> None:
    cases = [make_case(f"s{seed}", settings={"seed": seed}) for seed in range(3)]
    whole = run_cases(cases, out=tmp_path / "whole" / "run", options=CUDA)
    command, path = [sys.executable, "-c", LOSING], os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == whole.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    rows = load_run(tmp_path / "run").rows
    assert [row.image_sha256 for row in rows] == [row.image_sha256 for row in whole.rows]
