"""What cannot be written is refused before the work begins; what cannot be written at its end is printed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data import INFERENCE_IMAGES, JOBS
from harness.diagnosis.answer import Diagnosis
from harness.diagnosis.diagnose import diagnose
from harness.pipeline.renderer import ReferenceRenderer
from harness.runs.plan import RunOptions
from harness.schema.case import Case, load_case
from tests.cli.conftest import Harness
from tests.cli.refused import refused
from tests.diagnosis.truths import changed, rendered_with
from tests.full_disk import full

JOB = JOBS / "emoji_inkprint"
LORA = JOB / "emoji_inkprint.safetensors"
IMAGE = INFERENCE_IMAGES / "inkprint_00002_.png"
CASE = "000000200_2.case.yaml"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("diagnose", CASE), "--json"),
        (("diagnose", CASE), "--recipe"),
        (("diagnose", "."), "--json"),
        (("diagnose", "."), "--recipe"),
        (("compare", CASE, IMAGE), "--json"),
        (("compare", CASE, IMAGE), "--report"),
        (("compare", CASE, IMAGE), "--out"),
        (("audit", LORA), "--json"),
        (("audit", LORA), "--out"),
        (("run", "."), "--out"),
        (("sweep", ".", "--preset", "shift"), "--out"),
        (("calibrate", "."), "--out"),
        (("calibrate", "."), "--run"),
        (("import", JOB), "--out"),
        (("watch", JOB, "--once"), "--out"),
        (("watch", JOB, "--once"), "--cases"),
        (("demo",), "--out"),
        (("demo",), "--cases"),
        (("export", "comfy", CASE), "--out"),
        (("export", "diffusers", CASE), "--out"),
        (("export", "request", CASE), "--out"),
        (("bundle", "id"), "--out"),
        (("accept", "run"), "--baselines"),
    ],
)
def test_no_work_is_done_for_a_path_that_cannot_be_written(
    harness: Harness, cases: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], option: str
) -> None:
    monkeypatch.chdir(cases)
    before = {path: path.stat().st_mtime_ns for path in cases.rglob("*")}
    ended = harness(*arguments, option, f"{CASE}/below")
    assert f"{CASE}/below: {option}: cannot be written (" in refused(ended)
    assert ended.out == ""
    ended = harness(*arguments, option, "s3://bucket/answer")
    assert f"s3:/bucket/answer: {option}: is a URL" in refused(ended)
    assert {path: path.stat().st_mtime_ns for path in cases.rglob("*")} == before


def test_a_file_in_the_place_of_an_answers_pictures(harness: Harness, cases: Path) -> None:
    Path("answer").touch()
    line = refused(harness("diagnose", cases / CASE, "--json", "answer.json"))
    assert line == "harness: answer: --json: cannot be written (it is no folder); name another folder\n"


@pytest.fixture
def matching(cases: Path, renderer: ReferenceRenderer) -> Path:
    """The file of the only case in its folder, which its own settings explain."""
    quick = changed(load_case(cases / CASE), width=64, height=64, dtype="fp32")
    file = rendered_with({}, quick, renderer, "own.png").file
    assert file is not None
    for other in cases.glob("0*.case.yaml"):
        other.unlink()
    return file


def test_an_answer_without_a_suffix_has_its_pictures_beside_it(harness: Harness, matching: Path) -> None:
    ended = harness("diagnose", matching, "--json", "answer", "--device", "cpu", "--budget", "2")
    assert (ended.code, ended.err) == (0, "")
    assert Path("answer").is_file()
    assert Path("answer_pictures/0.png").is_file()


@pytest.mark.parametrize("folder", [True, False])
def test_an_answer_is_printed_though_the_disk_is_full(
    harness: Harness, matching: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    given = matching.parent if folder else matching
    ended = harness("diagnose", given, "--json", "a.json", "--device", "cpu", "--budget", "2")
    assert refused(ended).endswith(": No space left on device\n")
    assert "recipe:" in ended.out
    assert not Path("a.json").exists()


def test_the_run_of_a_calibration_is_called_by_its_option(harness: Harness, cases: Path) -> None:
    Path("run").mkdir()
    Path("run/theirs.txt").touch()
    ended = harness("calibrate", cases, "--run", "run", "--device", "cpu")
    assert "run: --run: is not empty and holds no run; choose another folder" in refused(ended)


def test_what_a_full_disk_refused_is_named(
    harness: Harness, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    said = refused(harness("export", "request", cases / CASE, "--out", "asked"))
    assert said == "harness: asked: No space left on device\n"


def test_a_case_that_cannot_be_written_is_not_diagnosed_to_be_fixed(
    harness: Harness, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    ended = harness("fix", cases / CASE, "--device", "cpu")
    assert "cannot be written (No space left on device); see what it says with --dry-run" in refused(ended)


@pytest.fixture(scope="module")
def diagnosed() -> Callable[[Case], Diagnosis]:
    """Diagnoses the wrong case for the first test, and says the same for the others."""
    found: list[Diagnosis] = []

    def diagnose_once(case: Case) -> Diagnosis:
        found.extend([] if found else [diagnose(case, options=RunOptions(device="cpu"))])
        return found[0]

    return diagnose_once


@pytest.fixture
def wrong(cases: Path, renderer: ReferenceRenderer) -> Path:
    """The file of a case whose preview shows another guidance."""
    quick = changed(load_case(cases / CASE), width=96, height=96, sample_steps=6, dtype="fp32")
    file = rendered_with({"guidance_scale": 2.5}, quick, renderer, "wrong.png").file
    assert file is not None
    return file


def test_what_explains_a_case_is_said_though_it_cannot_be_written(
    harness: Harness, wrong: Path, diagnosed: Callable[[Case], Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.diagnosis.fix.diagnose", lambda case, **_: diagnosed(case))
    monkeypatch.setattr("harness.diagnosis.fix.save_case", full)
    assert "found was guidance_scale 2.5" in refused(harness("fix", wrong))


def test_a_case_that_is_edited_while_it_is_diagnosed_keeps_the_edit(
    harness: Harness, wrong: Path, diagnosed: Callable[[Case], Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = wrong.read_text().replace("guidance_scale: 3.0", "guidance_scale: 3.5")
    assert edited != wrong.read_text()

    def diagnose_and_edit(case: Case, **_: object) -> Diagnosis:
        wrong.write_text(edited)
        return diagnosed(case)

    monkeypatch.setattr("harness.diagnosis.fix.diagnose", diagnose_and_edit)
    line = refused(harness("fix", wrong))
    assert line.startswith(
        f"harness: {wrong}: was changed while it was diagnosed; found was guidance_scale 2.5;"
    )
    assert wrong.read_text() == edited


def test_the_run_of_a_comparison_is_looked_at_first(harness: Harness, cases: Path) -> None:
    Path("folder").mkdir()
    ended = harness("compare", cases / CASE, IMAGE, "--out", "folder")
    assert "is not a run folder" in refused(ended)
    assert ended.out == ""


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (("demo",), {"theirs.txt": ""}, "is not empty and holds no run; choose another folder"),
        (
            ("demo",),
            {"run.json": json.dumps({"identity": {"cases": ["my/1"]}})},
            "holds another run than a demo's",
        ),
        (("demo",), {}, "is to hold the case files too"),
        (
            ("watch", JOB, "--once"),
            {"theirs.txt": ""},
            "is not empty and holds no run; choose another folder",
        ),
        (("watch", JOB, "--once"), {}, "is to hold the case files too"),
    ],
)
def test_no_case_is_written_for_a_run_folder_that_is_refused(
    harness: Harness, arguments: tuple[object, ...], content: dict[str, str], said: str
) -> None:
    Path("out").mkdir()
    for name, text in content.items():
        Path("out", name).write_text(text)
    cases = Path("out/cases") if not content else Path("cases")
    assert f"out: --out: {said}" in refused(harness(*arguments, "--out", "out", "--cases", cases))
    assert not cases.exists()
    assert [path.name for path in Path("out").iterdir()] == [*content]


def test_where_an_export_goes_unasked_is_checked_too(harness: Harness, cases: Path) -> None:
    Path("emoji_inkprint_000000200_2.request.json").mkdir()
    said = refused(harness("export", "request", cases / CASE))
    assert said.endswith(".request.json: --out: cannot be written (it is a folder); name another file\n")


def test_a_watch_that_cannot_write_its_cases_names_no_option_of_another_command(harness: Harness) -> None:
    Path("cases").write_text("")
    assert "--out" not in refused(harness("watch", JOB, "--once", "--out", "run"))
