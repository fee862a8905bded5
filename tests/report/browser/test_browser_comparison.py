"""The page of a comparison in a real browser: the viewer's modes by key, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from harness.comparison.compare import compare
from harness.importers.aitoolkit import import_job
from harness.report.comparison_page import write_comparison_page
from tests.comparison.conftest import IMAGES
from tests.report.browser.browser_runs import Open
from tests.report.browser.test_browser_viewer import VISIBLE, shows


@pytest.fixture(scope="module")
def compared(jobs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    cases = import_job(jobs["inkprint"], out=folder / "cases", steps="300").cases
    case = next(each for each in cases if each.preview.index == 0)
    found = compare(case, IMAGES / "inkprint_00002_.png", static=True)
    return write_comparison_page([found], folder / "page.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_slider_onion_blink_and_difference_by_key(opened: Open, compared: Path, scheme: str) -> None:
    page = opened(compared, color_scheme=scheme)
    for key, mode in {"2": "slider", "3": "onion", "4": "blink", "5": "map", "1": "side"}.items():
        page.keyboard.press(key)
        shows(page, VISIBLE[mode])
    page.keyboard.down("b")
    shows(page, {"preview", "rerun"})
    page.keyboard.up("b")
    shows(page, {"preview"})
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("inference image while held")
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(int(each) for each in dark.strip("rgba()").split(",")[:3]) < 200) == (scheme == "dark")
