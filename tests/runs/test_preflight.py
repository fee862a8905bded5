"""What is checked before a run reads every file once, however many renders share it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness._util.atomic_files import sha256_file
from harness.errors import BaselineError, CaseError
from harness.runs.plan import RunOptions, plan
from harness.runs.preflight import Preflight, preflight
from harness.schema.case import Case
from harness.sweeps.grid import parse_axis, product
from harness.sweeps.sweep import plan_sweep

MakeCase = Callable[..., Case]
CPU = RunOptions(device="cpu")


def test_a_file_that_renders_share_is_hashed_once(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: Counter[str] = Counter()

    def counted(path: Path) -> str:
        hashed[path.name] += 1
        return sha256_file(path)

    monkeypatch.setattr("harness.runs.preflight.sha256_file", counted)
    cases = [make_case(name, lora=300) for name in ("a", "b")]
    planned = plan_sweep(cases, product([parse_axis("shift=1,3,5")]), CPU, "cpu")
    assert len(planned) == 8
    assert list(preflight(planned, CPU)) == ["embedded:tiny-flex2-emoji"]
    assert hashed == {"a.jpg": 1, "b.jpg": 1, "lora.safetensors": 1}


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
    preflight(plan([case], options, "cpu"), options)
    file = tmp_path / "baselines" / f"{case.id}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(BaselineError, match="restore the file, or delete it"):
        preflight(plan([case], options, "cpu"), options)
