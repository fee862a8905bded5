"""Case files, run folders and bases that try to crash the harness or to mislead it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import CaseError, CheckpointError, LoraError, RunError
from harness.importers.aitoolkit import import_job
from harness.pipeline.checkpoint import find_checkpoint
from harness.pipeline.load import load_pipeline
from harness.pipeline.lora_shapes import check_lora_shapes, transformer_shapes
from harness.report.build import build_report
from harness.runs.accept import accept_run
from harness.runs.folder import RunFolder
from harness.runs.rescore import rescore
from harness.runs.results import load_run
from harness.runs.run_files import RESULTS, read_manifest, read_rows
from harness.schema.base import Base
from harness.schema.case import load_case, load_cases
from harness.schema.lora_file import inspect_lora
from harness.schema.result import Row, Verdict
from harness.schema.spec import FLEX2


@pytest.fixture
def imported(jobs: dict[str, Path], tmp_path: Path) -> Path:
    return import_job(jobs["inkprint"], out=tmp_path / "cases" / "inkprint", steps="300").folder


@pytest.fixture
def finished(tmp_path: Path, make_row: Callable[..., Row]) -> Path:
    """A run folder with one row, which matches."""
    row = make_row(verdict=Verdict.MATCH)
    with RunFolder(tmp_path / "run", {"cases": [row.case]}, {}) as folder:
        folder.append(row)
    return tmp_path / "run"


@pytest.mark.parametrize("text", ["a: " + "[" * 30_000, "a: " + "- " * 100_000, "[" * 200_000])
def test_deep_nesting_is_one_line_and_no_crash(tmp_path: Path, text: str) -> None:
    file = tmp_path / "deep.case.yaml"
    file.write_text(text)
    with pytest.raises(CaseError, match="not valid YAML") as caught:
        load_case(file)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["id: a\nid: b\n", "settings: {prompt: a, prompt: b}\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "twice.case.yaml").write_text(text)
    with pytest.raises(CaseError, match="appears twice"):
        load_case(tmp_path / "twice.case.yaml")


def test_hidden_folders_are_an_unfinished_imports(imported: Path) -> None:
    shutil.copytree(imported, imported.parent / f".{imported.name}.x1")
    assert len(load_cases([imported.parent])) == len(load_cases([imported]))


def test_a_run_folder_cannot_name_images_outside_it(finished: Path) -> None:
    rows = (finished / RESULTS).read_text()
    row = json.loads(rows)
    for path in ("../elsewhere/rerun.png", "/elsewhere/rerun.png"):
        row["images"]["rerun"] = path
        (finished / RESULTS).write_text(json.dumps(row) + "\n")
        with pytest.raises(RunError, match=r"images\.rerun"):
            read_rows(finished)


def test_a_run_with_cases_that_never_ran_is_not_green(finished: Path, tmp_path: Path) -> None:
    assert load_run(finished).exit_code == 0
    with RunFolder(tmp_path / "empty", {"cases": ["a", "b"]}, {}):
        pass
    assert load_run(tmp_path / "empty").exit_code == 1
    assert load_run(tmp_path / "empty").missing == ["a", "b"]


def test_a_damaged_base_is_one_line(tiny: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    (base / "tokenizer_2" / "tokenizer.json").write_text("{")
    checkpoint = find_checkpoint(Base(path=str(base)), FLEX2)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_pipeline(
            checkpoint,
            FLEX2,
            code="builtin",
            dtype="bf16",
            device="cpu",
            offload="none",
            trust_remote_code=False,
        )


def test_a_truncated_transformer_is_found_before_loading(tiny: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    weights = base / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        transformer_shapes(find_checkpoint(Base(path=str(base)), FLEX2))


def test_a_lora_that_does_not_fit_is_found_from_headers(jobs: dict[str, Path], tiny: Path) -> None:
    lora = inspect_lora(jobs["inkprint"] / "emoji_inkprint.safetensors")
    shapes = dict(transformer_shapes(find_checkpoint(Base(path=str(tiny)), FLEX2)))
    check_lora_shapes(lora, shapes)
    shapes.pop(f"{next(iter(lora.modules))}.weight")
    with pytest.raises(LoraError, match=r"1 of \d+ modules do not fit the base: .*unknown"):
        check_lora_shapes(lora, shapes)


@pytest.mark.parametrize("name", ["results.jsonl", "images/small/a", "index.html"])
def test_a_link_in_a_run_folder_is_not_followed(finished: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "mine"
    target.write_text("precious")
    place = finished / name
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    with pytest.raises(RunError, match="is a link"):
        RunFolder(finished, read_manifest(finished)["identity"], {})
    for use in (rescore, build_report):
        with pytest.raises(RunError, match="is a link"):
            use(finished)
    assert target.read_text() == "precious"


@pytest.mark.parametrize(("field", "value"), [("case", "../../mine"), ("case", "/mine"), ("variant", "../a")])
def test_a_row_cannot_name_a_place(finished: Path, field: str, value: str) -> None:
    row = json.loads((finished / RESULTS).read_text())
    (finished / RESULTS).write_text(json.dumps({**row, field: value}) + "\n")
    with pytest.raises(RunError, match=field):
        accept_run(finished, [], root=finished.parent / "baselines", reason="test")
    assert not (finished.parent / "baselines").exists()


def test_a_manifest_that_nests_too_deep(finished: Path) -> None:
    (finished / "run.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        load_run(finished)


@pytest.mark.parametrize("field", ["preview", "lora"])
def test_a_case_cannot_lead_out_of_its_folder_by_a_link(imported: Path, tmp_path: Path, field: str) -> None:
    case = next(case for case in load_cases([imported]) if case.lora is not None)
    case.verify()
    path = case.preview_path if field == "preview" else imported / case.lora.file  # type: ignore[union-attr]
    path.rename(tmp_path / "private")
    path.symlink_to(tmp_path / "private")
    with pytest.raises(CaseError, match=f"{field}.file: .* leads out of the case's folder by a link"):
        case.verify()
    path.unlink()
    (tmp_path / "private").rename(imported / "kept")
    path.symlink_to(imported / "kept")
    case.verify()
