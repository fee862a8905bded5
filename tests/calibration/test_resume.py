"""A calibration that was killed goes on only where its environment is still the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness.judging.baseline
import harness.runs.environment
from harness.calibration.calibrate import calibrate
from harness.errors import RunError
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions
from harness.schema.case import Case
from harness.schema.render import OnStep, Render, RenderRequest
from tests.runs.conftest import make_case

__all__ = ["make_case"]

OPTIONS = RunOptions(device="cpu")


class Killed(ReferenceRenderer):
    """Is interrupted before its third render."""

    renders = 0

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        self.renders += 1
        if self.renders == 3:
            raise KeyboardInterrupt
        return super().render(request, on_step)


def test_evidence_of_one_machine_is_not_filed_under_another(
    make_case: Callable[..., Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, run, out = [make_case("a")], tmp_path / "run", tmp_path / "tolerance.json"
    with pytest.raises(KeyboardInterrupt):
        calibrate(cases, out=out, run=run, options=OPTIONS, renderer=Killed(device="cpu"))
    real = harness.runs.environment.environment

    def other(device: str) -> dict[str, Any]:
        return {**real(device), "cpu": "another", "threads": 64}

    with monkeypatch.context() as patch:
        patch.setattr(harness.runs.environment, "environment", other)
        with pytest.raises(RunError, match=r"environment\.cpu, environment\.threads differ"):
            calibrate(cases, out=out, run=run, options=OPTIONS)
        assert not out.exists()
    made = calibrate(cases, out=out, run=run, options=OPTIONS)
    assert list(made.environments) == [harness.judging.baseline.environment_key(real("cpu"))]
