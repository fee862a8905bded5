"""A quantizer that cannot be rendered here is named, with no advice that cannot be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.judging.findings import static_findings
from tests.importers.shared_jobs import shared_job


@pytest.mark.parametrize(("job", "kind"), [("layer_offloading", "float8"), ("uint4", "uint4")])
def test_what_cannot_be_rendered_here(tmp_path: Path, job: str, kind: str) -> None:
    case = import_job(shared_job(job, tmp_path), out=tmp_path / "cases").cases[-1]
    (found,) = [finding for finding in static_findings(case) if finding.id == "quantized"]
    assert f"({kind})" in found.message
    assert "cannot be rendered here" in found.message
    assert "dB" in found.message
    assert not found.fix


def test_what_can_be(tmp_path: Path) -> None:
    case = import_job(shared_job("layer_offloading", tmp_path, "0.5.0"), out=tmp_path / "cases").cases[-1]
    (found,) = [finding for finding in static_findings(case) if finding.id == "quantized"]
    assert "(qfloat8)" in found.message
    assert "set quantize in the case file" in found.fix


def test_an_average_that_was_never_set_up_is_no_finding(tmp_path: Path) -> None:
    case = import_job(shared_job("early_ema", tmp_path, "0.7.7"), out=tmp_path / "cases").cases[-1]
    assert "ema" not in [finding.id for finding in static_findings(case)]
