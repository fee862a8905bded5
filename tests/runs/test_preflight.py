"""What is checked before a run reads every file once, however many renders share it."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness._util.atomic_files import sha256_file
from harness.errors import BaselineError, CaseError, DeviceError, HarnessError
from harness.pipeline.offload import GIB
from harness.runs.plan import plan
from harness.runs.preflight import Preflight, memory_lines
from harness.runs.run import run_cases
from harness.schema.base import Base
from harness.schema.case import Case
from harness.schema.lora_file import LoraFile, inspect_lora
from harness.sweeps.grid import parse_axis, product
from harness.sweeps.sweep import plan_sweep
from tests.runs.conftest import MakeCase
from tests.runs.counting import CPU, Counting, seeded


def test_a_file_that_renders_share_is_hashed_once(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()

    def hashed(path: Path) -> str:
        read[path.name] += 1
        return sha256_file(path)

    def inspected(path: Path) -> LoraFile:
        read[path.name] += 1
        return inspect_lora(path)

    monkeypatch.setattr("harness.runs.preflight.sha256_file", hashed)
    monkeypatch.setattr("harness.runs.preflight.inspect_lora", inspected)
    cases = [make_case(name, lora=300) for name in ("a", "b")]
    planned = plan_sweep(cases, product([parse_axis("shift=1,3,5")]), CPU, "cpu")
    assert len(planned) == 8
    assert list(Preflight().check(planned, CPU)) == ["embedded:tiny-flex2-emoji"]
    assert read == {"a.jpg": 1, "b.jpg": 1, "lora.safetensors": 1}


def test_a_changed_file_is_found_behind_one_that_was_good(make_case: MakeCase) -> None:
    good, bad = make_case("good", lora=300), make_case("bad", lora=200)
    assert bad.lora_path is not None
    bad.lora_path.write_bytes(bad.lora_path.read_bytes()[:-1] + b"\x01")
    checks = Preflight()
    checks.check(plan([good], CPU, "cpu"), CPU)
    for _ in range(2):
        with pytest.raises(CaseError, match=r"small/bad|bad\.case.*lora\.sha256"):
            checks.check(plan([good, bad], CPU, "cpu"), CPU)


def test_a_damaged_baseline_is_found_before_anything_is_rendered(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case("a")
    options = dataclasses.replace(CPU, baselines=tmp_path / "baselines")
    Preflight().check(plan([case], options, "cpu"), options)
    file = tmp_path / "baselines" / f"{case.id}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(BaselineError, match="restore the file, or delete it"):
        Preflight().check(plan([case], options, "cpu"), options)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped where")
@pytest.mark.parametrize(("dtype", "kept"), [("bf16", "read again"), ("fp16", "in main memory")])
def test_the_memory_line_says_how_weights_are_restored(make_case: MakeCase, dtype: Any, kept: str) -> None:
    options = dataclasses.replace(CPU, dtype=dtype)
    planned = plan([make_case("a", lora=300)], options, "cpu")
    bases = Preflight().known_bases(planned)
    (line,) = memory_lines(bases, planned, options, "cuda", free=GIB)
    assert "1.0 GiB of GPU memory are free: offload sequential" in line
    assert kept in line


class TestPreflight:
    """What is found before anything is rendered or written."""

    def refused(self, cases: list[Case], out: Path, kind: type[HarnessError], **options: Any) -> str:
        renderer = Counting()
        with pytest.raises(kind) as caught:
            run_cases(cases, out=out, options=dataclasses.replace(CPU, **options), renderer=renderer)
        assert renderer.seeds == []
        assert not out.exists()
        return str(caught.value)

    def test_a_preview_that_changed(self, make_case: MakeCase, tmp_path: Path) -> None:
        cases = seeded(make_case, 2)
        cases[1].preview_path.write_bytes(b"other")
        assert "preview.sha256" in self.refused(cases, tmp_path / "run", CaseError)

    def test_a_preview_that_is_no_image(self, make_case: MakeCase, tmp_path: Path) -> None:
        case = make_case("a")
        case.preview_path.write_bytes(b"text")
        preview = case.preview.model_copy(update={"sha256": sha256_file(case.preview_path)})
        bad = make_case("b").model_copy(update={"preview": preview})
        assert "a.jpg" in self.refused([bad], tmp_path / "run", HarnessError)

    def test_a_recorded_size_that_is_not_the_images(self, make_case: MakeCase, tmp_path: Path) -> None:
        case = make_case("a")
        preview = case.preview.model_copy(update={"width": 32})
        line = self.refused([case.model_copy(update={"preview": preview})], tmp_path / "run", CaseError)
        assert "preview.width: says 32×64, the image is 64×64" in line

    def test_a_missing_base(self, make_case: MakeCase, tmp_path: Path) -> None:
        case = make_case("a", base=Base(path="absent"))
        assert "base checkpoint does not exist" in self.refused([case], tmp_path / "run", HarnessError)

    def test_cuda(self, make_case: MakeCase, tmp_path: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        self.refused([make_case("a")], tmp_path / "run", DeviceError, device="cuda")
