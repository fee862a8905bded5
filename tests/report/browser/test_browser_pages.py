"""Every page: hostile text, accessibility, narrow screens, the single file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from harness.importers.aitoolkit import import_job
from harness.report.build import build_report
from harness.report.formatting import slug
from tests.report.browser.browser_runs import HOSTILE, VARIANT, Open, settle
from tests.report.report_runs import Run

PAGES = [
    "index.html",
    "cases/job--much.html",
    "cases/job--broken.html",
    "cases/job--same~sweep.html",
    "../history.html",
    "../empty/index.html",
    "hostile",
    "single#job--much",
    "single#job--same~sweep",
]


def open_named(opened: Open, folder: Path, single: Path, name: str, **options: Any) -> Any:
    if name.startswith("single"):
        return opened(single, name.removeprefix("single"), **options)
    if name == "hostile":
        name = f"cases/{slug('other/hostile', VARIANT)}.html"
    return opened(folder / name, **options)


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(opened: Open, folder: Path, single: Path, name: str) -> None:
    page = open_named(opened, folder, single, name)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options={"preload": False}).response["violations"]
        assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_scrolls_sideways(opened: Open, folder: Path, single: Path, name: str) -> None:
    page = open_named(opened, folder, single, name)
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        for key in "12345":
            page.keyboard.press(key)
            settle(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["index.html", "hostile", "single"])
def test_hostile_text_is_shown_and_never_runs(opened: Open, folder: Path, single: Path, name: str) -> None:
    page = open_named(opened, folder, single, name)
    if name == "single":
        page.evaluate("location.hash = harness.rows.slug[harness.rows.case.indexOf('other/hostile')]")
    if name != "index.html":
        expect(page.locator("h1:visible")).to_contain_text("other/hostile")
        assert page.locator(".prompt p").text_content() == HOSTILE
    assert page.evaluate("window.hacked") is None
    assert page.locator("script:not([src])").count() == (
        0 if name != "single" else page.locator("script").count()
    )
    assert page.locator("img[src='x'], img[onerror]").count() == 0


def test_a_job_named_like_a_path_stays_in_the_report(
    opened: Open, jobs: dict[str, Path], tmp_path: Path
) -> None:
    job = shutil.copytree(jobs["simple"], tmp_path / "job")
    config = job / "config.yaml"
    config.write_text(config.read_text().replace("name: tiny_flex2_simple_v1", "name: ../../x"))
    case = import_job(job, out=tmp_path / "cases").cases[0]
    run = Run(tmp_path / "reports" / "run")
    run.compared(case, case.preview_path, case.preview_path)
    page = opened(build_report(run.path))
    page.click("ol.lines a")
    expect(page.locator("h1")).to_have_text(case.id)
    assert case.id.startswith(".._.._x-")
    expect(page.locator(".pane img").first).to_be_visible()
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["run"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases", "job", "reports"]


def test_the_single_file_does_what_the_folder_does(opened: Open, single: Path) -> None:
    page = opened(single, "?verdict=drift")
    page.click("text=job/much")
    expect(page.locator("#opened h1")).to_have_text("job/much")
    expect(page.locator("#overview")).to_be_hidden()
    page.keyboard.press("3")
    expect(page.locator(".stage")).to_have_attribute("data-mode", "onion")
    page.locator('.pane[data-image="preview"] img').hover(force=True)
    expect(page.locator(".readout")).to_contain_text("largest difference")
    page.keyboard.press("a")
    page.keyboard.press("j")
    expect(page.locator("#opened h1")).to_have_text("other/early")
    expect(page.locator(".place")).to_have_text("2 of 3")
    page.keyboard.press("u")
    expect(page.locator("#overview")).to_be_visible()
    expect(page.locator("ol.lines li:not([hidden])")).to_have_count(3)
    expect(page.locator("#reviewed")).to_have_text("Reviewed: 1 accepted, 0 rejected")


@pytest.mark.parametrize("is_single", [False, True])
def test_a_sweep_leads_to_its_comparisons_and_back(
    opened: Open, folder: Path, single: Path, is_single: bool
) -> None:
    page = opened(single if is_single else folder / "index.html")
    page.click("header details a")
    expect(page.locator(".swept h1")).to_have_text("job/same")
    expect(page.locator(".swept .help")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("dialog.keys")).to_contain_text("next variant")
    page.keyboard.press("Escape")
    expect(page.locator("dialog.keys")).to_be_hidden()
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator(".sheet a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".viewer")).to_be_visible()
    expect(page.locator(".moves")).to_be_visible()
    page.keyboard.press("s")
    expect(page.locator(".swept h1")).to_have_text("job/same")
    expect(page.locator(".swept .help")).to_be_visible()
    page.keyboard.press("u")
    expect(page.locator("ol.lines")).to_be_visible()
