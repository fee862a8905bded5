"""A diagnosis that lies in the run folder is shown with its case."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.diagnosis.answer import Diagnosis, Step
from harness.diagnosis.job_diagnosis import JobDiagnosis, Member
from harness.errors import RunError
from harness.report.build import build_report
from tests.report.report_page import read_page
from tests.report.report_runs import Run, case_of, sample

DIAGNOSIS = {
    "case": "job/a",
    "composition": "same",
    "findings": [
        {"id": "x", "severity": "warning", "message": "<b>quantized</b>", "where": "y", "fix": "do"}
    ],
    "causes": [
        {
            "axis": "shift",
            "value": 3.0,
            "reference_value": "off",
            "gap_closed": 0.93,
            "ssim": 0.99,
            "lpips": 0.001,
        }
    ],
    "explained": True,
    "renders": 12,
    "recipe": "print('</pre><script>')",
}


@pytest.mark.parametrize("single_file", [False, True])
def test_causes_findings_and_recipe(run: Run, single_file: bool) -> None:
    run.compared(case_of(sample(30, 0), "job/a"), sample(30, 0), sample(0, 0))
    (run.path / "diagnosis").mkdir()
    (run.path / "diagnosis" / "a.json").write_text(json.dumps(DIAGNOSIS))
    page = read_page(build_report(run.path, single_file=single_file))
    article = (page if single_file else read_page(run.path / "cases" / "job--a.html")).one("article")
    row = article.one("table", class_="causes").one("tbody").one("tr")
    cells = [cell.words for cell in row.all("th") + row.all("td")]
    assert cells == ["shift", "1", "3", "off", "93 %", "0.9900", "0.0010"]
    assert "These settings explain the drift. The re-run shows the same picture" in article.words
    assert "warning <b>quantized</b> → do y" in article.words
    assert "print('</pre><script>')" in article.text


def test_a_file_that_is_no_diagnosis_is_named(run: Run) -> None:
    run.compared(case_of(sample(30, 0), "job/a"), sample(30, 0), sample(0, 0))
    (run.path / "diagnosis").mkdir()
    (run.path / "diagnosis" / "a.json").write_text("{}")
    with pytest.raises(RunError, match=r"a\.json: case: Field required"):
        build_report(run.path)


def test_a_page_of_its_own_shows_every_step_of_the_path(run: Run) -> None:
    run.compared(case_of(sample(30, 0), "job/a"), sample(30, 0), sample(0, 0))
    path = [
        {"settings": "as recorded", "distance": 20.0, "picture": "a/0.png"},
        {"settings": "shift = 3, <i>", "distance": 0.0, "picture": "a/1.png"},
        {"settings": "the preview", "distance": None, "picture": "a/2.png"},
    ]
    saved = {**DIAGNOSIS, "path": path, "not_tried": {"generator = cuda": "it needs a GPU"}}
    (run.path / "diagnosis").mkdir()
    (run.path / "diagnosis" / "a.json").write_text(json.dumps(saved))
    build_report(run.path)
    case = read_page(run.path / "cases" / "job--a.html")
    assert any(link.attributes.get("href") == "job--a~diagnosis.html" for link in case.all("a"))
    page = read_page(run.path / "cases" / "job--a~diagnosis.html")
    rows = page.one("table", class_="ladder").one("tbody").all("tr")
    assert [row.one("img").attributes["src"] for row in rows] == [f"../diagnosis/a/{n}.png" for n in range(3)]
    assert [row.one("th").words for row in rows] == ["as recorded", "shift = 3, <i>", "the preview"]
    assert "generator = cuda : it needs a GPU" in page.words.replace("cuda:", "cuda :")


def _page_words(run: Run, name: str) -> str:
    return read_page(run.path / "cases" / f"job--{name}.html").one("article").words


def test_a_jobs_diagnosis_is_shown_with_each_of_its_cases(run: Run) -> None:
    for name in "abc":
        run.compared(case_of(sample(30, 0), f"job/{name}"), sample(30, 0), sample(0, 0))
    first = Diagnosis(
        case=case_of(sample(30, 0), "job/a"), findings=[], composition="same", correlation=0.9, floor={},
        causes=[], explained=True, identical=False, rivals=[], nearer_without_lora=None, step_zero=None,
        tried={}, not_tried={}, renders=3, spent=2.0, recipe="",
        path=(Step("as recorded", 4.0, np.zeros((2, 2, 3), np.uint8)),),
    )  # fmt: skip
    members = (
        Member("job/a", {"shift": 3.0}, explained=True, shared=True, spent=9.0),
        Member("job/b", {"shift": 3.0, "noise": "legacy"}, explained=True, shared=False, spent=2.0),
        Member("job/c", {}, explained=False, shared=False, spent=4.0),
    )
    (run.path / "diagnosis").mkdir()
    answer = [JobDiagnosis("job", first, "shift = 3", members).to_json()]
    (run.path / "diagnosis" / "job.json").write_text(json.dumps(answer))
    build_report(run.path)
    assert "The re-run shows the same picture, drawn differently. 3 renders" in _page_words(run, "a")
    assert read_page(run.path / "cases" / "job--a~diagnosis.html").all("img") == []  # none were saved
    assert "This explains the drift: shift = 3, noise = legacy. The job's previews" in _page_words(run, "b")
    assert "Nothing tried explains the drift. The job's previews were diagnosed together" in _page_words(
        run, "c"
    )


def test_the_static_findings_of_a_folder_are_shown_with_each_case(run: Run) -> None:
    for name in "ab":
        run.compared(case_of(sample(30, 0), f"job/{name}"), sample(30, 0), sample(0, 0))
    (run.path / "diagnosis").mkdir()
    finding = {"id": "x", "severity": "warning", "message": "the prompt was cut", "where": "y", "fix": ""}
    answer = [{"case": "job/a", "findings": []}, {"case": "job/b", "findings": [finding]}]
    (run.path / "diagnosis" / "all.json").write_text(json.dumps(answer))
    build_report(run.path)
    assert "the prompt was cut" not in _page_words(run, "a")
    assert "the prompt was cut" in _page_words(run, "b")
