"""A run folder of which a file is damaged: the report names what it leaves out, and shows the rest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.app import app
from harness.cli.show import summarise
from harness.errors import HarnessError
from harness.report.build import build_report
from harness.report.export_bundle import write_bundle
from harness.report.formatting import moment
from harness.runs.results import load_run
from tests.report.report_page import Element, read_page
from tests.report.report_runs import Run, case_of, sample
from tests.report.test_diagnoses import DIAGNOSIS

COMPARISON = {"case": "job/a", "image": "mine.png", "differences": [{"setting": "guidance_scale"}]}


def _truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (_truncated, "Invalid JSON"),
    "empty": (lambda file: file.write_bytes(b""), "Invalid JSON"),
    "binary": (lambda file: file.write_bytes(bytes(range(256))), "Invalid JSON"),
    "another type": (lambda file: file.write_text("12"), "Input should be an object, found 12"),
    "a folder": (_folder, "cannot be read (Is a directory)"),
    "a pipe": (_pipe, "cannot be read (not a regular file)"),
}


@pytest.fixture
def answered(run: Run) -> Run:
    """A run with two diagnoses and two comparisons, one each of a case."""
    for name in "ab":
        run.compared(case_of(sample(30, 0), f"job/{name}"), sample(30, 0), sample(0, 0))
        for folder, answer in (("diagnosis", DIAGNOSIS), ("comparison", COMPARISON)):
            (run.path / folder).mkdir(exist_ok=True)
            body = json.dumps({**answer, "case": f"job/{name}"})
            (run.path / folder / f"{name}.json").write_text(body)
    return run


def _article(run: Run, name: str) -> Element:
    return read_page(run.path / "cases" / f"job--{name}.html").one("article")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("folder", ["diagnosis", "comparison"])
def test_a_damaged_answer_is_named_and_the_rest_is_shown(answered: Run, folder: str, damage: str) -> None:
    spoil, found = DAMAGE[damage]
    spoil(answered.path / folder / "a.json")
    damaged: list[HarnessError] = []
    for single_file in (False, True):
        page = read_page(build_report(answered.path, single_file=single_file, damaged=damaged))
        (note,) = page.all("header")[0].all("p", class_="note")
        assert note.words.startswith(f"Left out: {folder}/a.json: {found}")
    assert [str(each.file) for each in damaged] == [str(answered.path / folder / "a.json")] * 2
    shown = {"diagnosis": "causes", "comparison": "compared"}
    for kind, class_ in shown.items():
        tag = "table" if kind == "diagnosis" else "ul"
        assert len(_article(answered, "a").all(tag, class_=class_)) == (kind != folder)
        assert len(_article(answered, "b").all(tag, class_=class_)) == 1


def test_the_command_names_it_and_ends_with_2(answered: Run) -> None:
    (answered.path / "diagnosis" / "a.json").write_text("{}")
    ended = CliRunner().invoke(app, ["report", str(answered.path)])
    assert ended.exit_code == 2
    assert ended.stdout == f"{answered.path}/index.html\n"
    file = answered.path / "diagnosis" / "a.json"
    assert ended.stderr == f"harness: {file}: case: Field required; diagnose again, or remove it\n"


def test_a_run_ends_with_its_own_code(answered: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (answered.path / "comparison" / "a.json").write_text("{}")
    summarise(load_run(answered.path))
    file = answered.path / "comparison" / "a.json"
    assert f"left out of the report: {file}: case: Field required; compare again, or remove it\n" in (
        capsys.readouterr().out
    )


def test_a_bundle_carries_the_comparisons_that_can_be_read(answered: Run, tmp_path: Path) -> None:
    (answered.path / "comparison" / "b.json").write_text("{}")
    assert write_bundle(answered.path, "job/a", out=tmp_path / "a.zip").is_file()


@pytest.mark.parametrize("spoil", [_folder, _pipe])
def test_rows_that_cannot_be_read_leave_the_other_reports(
    answered: Run, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    shutil.copytree(answered.path, tmp_path / "copy")
    spoil(answered.path / "results.jsonl")
    ended = CliRunner().invoke(app, ["report", str(answered.path), str(tmp_path / "copy")])
    assert ended.exit_code == 2
    assert ended.stdout == f"{tmp_path}/copy/index.html\n"
    assert ended.stderr.startswith(f"harness: {answered.path}/results.jsonl: cannot be read (")


def test_a_time_that_utc_does_not_have_is_shown_as_it_is() -> None:
    assert moment("0001-01-01T00:00:00+10:00") == "0001-01-01T00:00:00+10:00"
