"""A bad case, LoRA or base is one line on stderr and exit code 2, and leaves nothing half-made behind."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.schema.case import load_cases, save_case
from tests.cli.refused import refused

Harness = Callable[..., Any]


def change_case(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = max(folder.glob("*.case.yaml"))
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no cases": (lambda folder: [path.unlink() for path in folder.glob("*.yaml")], "holds no *.case.yaml"),
    "broken YAML": (lambda folder: (folder / "x.case.yaml").write_text("a: [1"), "is not valid YAML"),
    "unknown key": (
        lambda folder: change_case(folder, lambda case: case.update(lroa=1)),
        "lroa: unknown key; did you mean 'lora'?",
    ),
    "misspelt section": (
        lambda folder: change_case(folder, lambda case: case.update(setings=case.pop("settings"))),
        "setings: unknown key; did you mean 'settings'?",
    ),
    "nothing in it": (lambda folder: (folder / "x.case.yaml").write_text(""), "x.case.yaml: is empty"),
    "size out of range": (
        lambda folder: change_case(folder, lambda case: case["settings"].update(width=32)),
        "settings.width: 32 is outside the reference's range 64 to 4096",
    ),
    "preview changed": (
        lambda folder: next((folder / "previews").glob("*200_2.jpg")).write_bytes(b"x"),
        "preview.sha256: ",
    ),
    "LoRA changed": (lambda folder: next((folder / "loras").iterdir()).write_bytes(b"x"), "lora.sha256: "),
    "LoRA gone": (lambda folder: shutil.rmtree(folder / "loras"), "lora.file: "),
    "missing base": (
        lambda folder: change_case(folder, lambda case: case.update(base={"embedded": "none"})),
        "base: base checkpoint does not exist",
    ),
    "base in no cache": (
        lambda folder: change_case(folder, lambda case: case.update(base={"repo": "nobody/nothing"})),
        "base.repo: nobody/nothing is not in the cache",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_run(harness: Harness, cases: Path, name: str) -> None:
    change, said = CASES[name]
    change(cases)
    assert said in refused(harness("run", cases, "--out", "run"))
    assert list(Path.cwd().iterdir()) == []


def rehashed(cases: Path, data: bytes) -> None:
    """Put other bytes in the LoRA's place, with the hash to match, as a careless user would."""
    import hashlib

    file = next((cases / "loras").iterdir())
    file.write_bytes(data)
    for case in load_cases([cases]):
        if case.lora is not None:
            reference = case.lora.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
            save_case(case.model_copy(update={"lora": reference}), case.folder / "000000200_2.case.yaml")


def test_run_with_a_lora_that_is_not_safe_or_not_a_lora(harness: Harness, cases: Path) -> None:
    good = next((cases / "loras").iterdir()).read_bytes()
    for data, said in (
        (pickle.dumps({"a": 1}), "is a pickle"),
        (good.replace(b".lora_A.weight", b".lokr_w1.weigh"), "is a LoKr file"),
        (good[:-1], "is truncated"),
    ):
        rehashed(cases, data)
        assert said in refused(harness("run", cases, "--out", "run"))
    assert list(Path.cwd().iterdir()) == []


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "base"))


def test_run_on_a_base_without_a_vae(harness: Harness, cases: Path, base: Path) -> None:
    shutil.rmtree(base / "vae")
    assert "vae: component folder is missing" in refused(harness("run", cases, "--base", base))
    index = json.loads((base / "model_index.json").read_text())
    del index["vae"]
    (base / "model_index.json").write_text(json.dumps(index))
    assert "vae: component is not listed" in refused(harness("run", cases, "--base", base))


def test_run_hub_code_without_trust(harness: Harness, cases: Path, base: Path) -> None:
    line = refused(harness("run", cases, "--base", base, "--pipeline", "hub"))
    assert "holds no pipeline.py" in line
    (base / "pipeline.py").write_text("raise SystemExit('this must not run')\n")
    line = refused(harness("run", cases, "--base", base, "--pipeline", "hub"))
    assert "does not run without your trust" in line
    assert "--trust-remote-code" in line
