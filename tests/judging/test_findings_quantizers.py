"""A quantizer that cannot be rendered here is named, with no advice that cannot be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.importers.aitoolkit import import_job
from harness.judging.findings import Finding, static_findings
from harness.precision import availability
from tests.importers.shared_jobs import shared_job


def quantized(folder: Path, out: Path) -> Finding:
    case = import_job(folder, out=out).cases[-1]
    (found,) = [finding for finding in static_findings(case) if finding.id == "quantized"]
    return found


def test_what_a_missing_package_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda _name: None)
    found = quantized(shared_job("layer_offloading", tmp_path), tmp_path / "cases")
    assert "(float8)" in found.message
    assert "cannot be rendered here" in found.message
    assert "dB" in found.message
    assert found.fix == "needs torchao, which is not installed"


def test_what_can_be(tmp_path: Path) -> None:
    found = quantized(shared_job("layer_offloading", tmp_path, "0.5.0"), tmp_path / "cases")
    assert "(qfloat8)" in found.message
    assert "set quantize: qfloat8 in the case file" in found.fix


def test_the_trainers_own_kind_can_be(tmp_path: Path) -> None:
    found = quantized(shared_job("uint4", tmp_path), tmp_path / "cases")
    assert "(uint4)" in found.message
    assert "set quantize: uint4" in found.fix


def test_with_t5_alone_the_lora_is_merged_as_ever(tmp_path: Path) -> None:
    job = shared_job("uint4", tmp_path)
    config = (job / "config.yaml").read_text()
    (job / "config.yaml").write_text(config.replace("quantize: true", "quantize: false"))
    found = quantized(job, tmp_path / "cases")
    assert "with a quantized T5 (uint4); the re-run is not quantized" in found.message
    assert "set quantize: uint4-te" in found.fix
    assert "dB" not in found.message  # measured with the transformer quantized too


@pytest.mark.parametrize(("device", "name"), [("cuda", "convrot8"), ("cpu", "convrot8_a16")])
def test_a_rotating_kind_can_be_as_its_device_computed_it(tmp_path: Path, device: str, name: str) -> None:
    job = shared_job("uint4", tmp_path)
    config = (job / "config.yaml").read_text()
    (job / "config.yaml").write_text(
        config.replace("uint4", "convrot8").replace("device: cpu", f"device: {device}")
    )
    found = quantized(job, tmp_path / "cases")
    assert f"set quantize: {name} in the case file" in found.fix


def test_an_average_that_was_never_set_up_is_no_finding(tmp_path: Path) -> None:
    case = import_job(shared_job("early_ema", tmp_path, "0.7.7"), out=tmp_path / "cases").cases[-1]
    assert "ema" not in [finding.id for finding in static_findings(case)]
