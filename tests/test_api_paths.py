"""Every public function takes a path as text, too, and as anything that ``os.fspath`` knows."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import RunError
from harness.metrics.lpips import LPIPS_WEIGHTS
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.folder import read_manifest
from tests.conftest import DATA, PACKAGE_DATA

ANY = "str | os.PathLike[str]"
CPU = harness.RunOptions(device="cpu")
STEPS = "sample_steps: 25", "sample_steps: 2"


def path_parameters(function: Callable[..., object]) -> dict[str, str]:
    """Return the parameters that take a path or several, with their annotations."""
    given = inspect.signature(function).parameters.values()
    found = {each.name: str(each.annotation) for each in given}
    return {name: text for name, text in found.items() if re.search(r"\bPath(Like)?\b", text)}


TAKE_PATHS = [
    name
    for name in harness.__all__
    if inspect.isfunction(function := getattr(harness, name)) and path_parameters(function)
]


class Own:
    """A path of somebody else's library."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, renderer: ReferenceRenderer) -> Path:
    """A folder with one of everything that functions read."""
    folder = tmp_path_factory.mktemp("made")
    job, shipped = folder / "job", PACKAGE_DATA / "jobs" / "emoji_inkprint"
    (job / "samples").mkdir(parents=True)
    (job / "config.yaml").write_text((shipped / "config.yaml").read_text().replace(*STEPS))
    shutil.copy(next((shipped / "samples").glob("*__000000300_0.jpg")), job / "samples")
    shutil.copy(shipped / "emoji_inkprint.safetensors", job)
    shutil.copy(shipped / "emoji_inkprint.safetensors", folder / "lora.safetensors")
    for file in (DATA / "requests" / "plain.json", DATA / "requests" / "p0.jpg", LPIPS_WEIGHTS):
        shutil.copy(file, folder)
    (folder / "r.json").write_text('{"outputs": {"images": [{"path": "a.jpg"}]}}')
    (folder / "seed.yaml").write_text("seed: 42\n")
    (case,) = harness.import_job(job, out=folder / "cases").cases
    harness.run_cases([case], out=folder / "runs" / "run", options=CPU, renderer=renderer)
    harness.write_bundle(folder / "runs" / "run", case.id, out=folder / "bundle.zip")
    (folder / "grid.yaml").write_text("axes: {shift: [1, 3]}\n")
    review = {
        "format": "harness-review/1",
        "run": "run",
        "created": read_manifest(folder / "runs" / "run")["created"],
        "reviewer": "Ada",
        "exported": "2026-11-23T12:00:00Z",
        "decisions": [],
    }
    (folder / "review.json").write_text(json.dumps(review))
    return folder


def arguments_of(name: str, folder: Path, renderer: ReferenceRenderer) -> dict[str, Any]:
    """Return what to call a function with; paths are relative to ``folder``."""
    (case,) = harness.load_cases([folder / "cases"])
    rendering = {"options": CPU, "renderer": renderer}
    audited = harness.audit(folder / "lora.safetensors")
    compared = harness.compare(case, folder / "p0.jpg", static=True)
    variants, config, lora = harness.preset("scheduler")[:1], "job/config.yaml", "lora.safetensors"
    calls: dict[str, dict[str, Any]] = {
        "accept_run": {"run": "runs/run", "cases": [], "root": "baselines", "reason": "first"},
        "apply_review": {"file": "review.json", "run": "runs/run", "root": "baselines"},
        "audit": {"lora": lora, "base": "base"},
        "build_history": {"root": "runs"},
        "build_report": {"folder": "runs/run"},
        "calibrate": {"cases": [case], "out": "limits.yaml", "run": "controls", **rendering},
        "compare": {"case": case, "image": "p0.jpg", "request": [], "settings": "seed.yaml", "static": True},
        "export_case": {"case": case, "kind": "comfy", "out": "workflow"},
        "import_bundle": {"path": "bundle.zip", "out": "theirs"},
        "import_job": {"job_dir": "job", "out": "new", "config": config, "leave": ["other.jpg"]},
        "import_request": {"request": "plain.json", "previews": ["p0.jpg"], "out": "new", "result": "r.json"},
        "job_summary": {"run": "runs/run"},
        "load_case": {"path": "cases/000000300_0.case.yaml"},
        "load_cases": {"paths": ["cases"]},
        "load_run": {"folder": "runs/run"},
        "read_grid": {"path": "grid.yaml"},
        "read_history": {"root": "runs"},
        "rescore": {"folder": "runs/run", "lpips_weights": LPIPS_WEIGHTS.name},
        "run_cases": {"cases": [case], "out": "again", **rendering},
        "run_demo": {"out": "runs/run", "cases": "new"},
        "save_case": {"case": case, "path": "cases/000000300_0.case.yaml"},
        "sweep_cases": {"cases": [case], "variants": variants, "out": "sweep", **rendering},
        "watch_round": {"job_dir": "job", "cases": "new", "out": "w", "config": config, "options": CPU},
        "write_audit_page": {"found": audited, "out": "audit.html"},
        "write_bundle": {"run": "runs/run", "case": case.id, "out": "bundle.zip", "lora": lora},
        "write_comparison_page": {"found": [compared], "out": "comparison.html"},
    }
    return calls[name]


@pytest.mark.parametrize("kind", [str, Own])
@pytest.mark.parametrize("name", TAKE_PATHS)
def test_a_path_may_be_text(
    name: str, kind: Callable[[str], object], made: Path, tmp_path: Path, renderer: ReferenceRenderer
) -> None:
    function = getattr(harness, name)
    parameters = path_parameters(function)
    for annotation in parameters.values():
        assert "Path" not in annotation.replace(ANY, ""), f"{name} takes no text for {annotation}"
    folder = Path(shutil.copytree(made, tmp_path / "made"))
    (folder / "base").symlink_to(PACKAGE_DATA / "checkpoints" / "tiny-flex2-emoji")

    def given(value: str | list[str]) -> object:
        return [given(each) for each in value] if isinstance(value, list) else kind(str(folder / value))

    arguments = arguments_of(name, folder, renderer)
    assert parameters.keys() <= arguments.keys()
    arguments |= {each: given(arguments[each]) for each in parameters}
    if name == "run_demo":  # renders for long
        with pytest.raises(RunError, match="holds another run"):
            function(**arguments)
    else:
        function(**arguments)


def test_options_take_text(made: Path, tmp_path: Path, renderer: ReferenceRenderer) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "made"))
    harness.accept_run(folder / "runs" / "run", [], root=folder / "baselines", reason="first")
    options = harness.RunOptions(
        device="cpu", baselines=str(folder / "baselines"), lpips_weights=str(folder / LPIPS_WEIGHTS.name)
    )
    cases = harness.load_cases([folder / "cases"])
    (row,) = harness.run_cases(cases, out=folder / "again", options=options, renderer=renderer).rows
    assert row.baseline is not None
    assert str(harness.Base.parse(Own(str(folder)))) == str(folder)


def test_a_single_path_is_not_taken_letter_by_letter(made: Path) -> None:
    assert harness.load_cases(str(made / "cases")) == harness.load_cases([made / "cases"])
