"""The engine's RMSNorm on the CPU, in Triton's interpreter; its bits on a GPU are test_engine_cuda's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from harness.pipeline.engine.norms import rms_norm

PROGRAM = """
import torch
from torch.nn import functional
from harness.pipeline.engine.rms_norm import can_stand_for_eager, rms_norm

torch.manual_seed(0)
for rows in (3, 16, 37):
    x, weight = torch.randn(rows, 128), torch.rand(128) + 0.5
    ours, eager = rms_norm(x, weight, 1e-6), functional.rms_norm(x, (128,), weight, 1e-6)
    torch.testing.assert_close(ours, eager, rtol=1e-6, atol=1e-6)
    assert not can_stand_for_eager(x, [128], weight, 1e-6)
"""


def test_it_is_a_root_mean_square_norm_and_never_stands_in_on_a_cpu() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_operator_takes_what_the_fast_norm_does_not() -> None:
    x = torch.randn(5, 96)
    assert torch.equal(rms_norm(x, [96], None, None), functional.rms_norm(x, (96,)))
