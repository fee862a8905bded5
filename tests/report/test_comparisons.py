"""A comparison in the run folder: linked from its case's page, and carried by the bundle."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from harness.comparison.compare import Comparison, compare
from harness.errors import RunError
from harness.report.build import build_report
from harness.report.comparison_page import store_comparisons
from harness.report.export_bundle import write_bundle
from harness.schema.case import save_case
from tests.report.pages import case_of_page
from tests.report.report_page import read_page
from tests.report.report_runs import Run, case_of, sample

PAGE = "job--a--mine.png.html"


@pytest.fixture
def found(run: Run, tmp_path: Path) -> Comparison:
    preview = sample(30, 0)
    case = case_of(preview, "job/a")
    run.compared(case, preview, sample(0, 0))
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(preview, folder / case.preview.file)
    Image.open(sample(0, 0)).save(folder / "mine.png")
    loaded = save_case(case, folder / "a.case.yaml")
    return compare(loaded, folder / "mine.png", static=True)


def test_it_is_linked_from_the_page_of_its_case_and_back(run: Run, found: Comparison) -> None:
    (page,) = store_comparisons([found], run.path)
    assert page == run.path / "comparison" / PAGE
    items = case_of_page(run, "job--a").one("ul", class_="compared").all("li")
    assert [item.one("a").attributes["href"] for item in items] == [f"../comparison/{PAGE}"]
    back = read_page(page).one("h1").one("a").attributes["href"]
    assert back is not None
    assert (page.parent / back).resolve() == run.path / "cases/job--a.html"


def test_images_of_one_name_have_a_page_each(run: Run, found: Comparison) -> None:
    pages = store_comparisons([found, found], run.path)
    assert [page.name for page in pages] == [PAGE, "job--a--mine.png-2.html"]
    assert len(case_of_page(run, "job--a").one("ul", class_="compared").all("li")) == 2


def test_one_whose_page_is_gone_is_named_without_a_link(run: Run, found: Comparison) -> None:
    (page,) = store_comparisons([found], run.path)
    page.unlink()
    (item,) = case_of_page(run, "job--a").one("ul", class_="compared").all("li")
    assert item.words.startswith("mine.png: ")
    assert item.all("a") == []


def test_a_single_file_names_it_without_a_link(run: Run, found: Comparison) -> None:
    store_comparisons([found], run.path)
    page = read_page(build_report(run.path, single_file=True))
    assert page.one("ul", class_="compared").one("li").words.startswith("mine.png: ")
    assert page.one("ul", class_="compared").all("a") == []


def test_the_bundle_carries_it(run: Run, found: Comparison, tmp_path: Path) -> None:
    store_comparisons([found], run.path)
    with zipfile.ZipFile(write_bundle(run.path, "job/a", out=tmp_path / "a.zip")) as archive:
        names = {name for name in archive.namelist() if name.startswith("comparison/")}
    assert names == {f"comparison/{PAGE}", f"comparison/{PAGE.replace('.html', '.json')}"}


def test_a_run_without_the_case_is_refused(run: Run, found: Comparison, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        store_comparisons([found], tmp_path)
    other = Run(tmp_path / "other")
    other.compared(case_of(sample(30, 0), "job/b"), sample(30, 0), sample(0, 0))
    with pytest.raises(RunError, match="holds no row of case 'job/a'"):
        store_comparisons([found], other.path)


def test_a_file_that_is_no_comparison_is_named(run: Run) -> None:
    run.compared(case_of(sample(30, 0), "job/a"), sample(30, 0), sample(0, 0))
    (run.path / "comparison").mkdir()
    (run.path / "comparison" / "a.json").write_text("{}")
    with pytest.raises(RunError, match=r"a\.json: case: Field required"):
        build_report(run.path)
