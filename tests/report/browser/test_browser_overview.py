"""The list of cases: filters and sort in the address, keys, stepping through what passes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.report.browser.browser_runs import Open

WORST_FIRST = [
    "job/broken", "job/much", "other/early", "job/some", "job/gone", "job/same", "job/same", "other/hostile",
]  # fmt: skip


def lists(page: Any, cases: list[str]) -> None:
    """Wait until the list shows these cases in this order, and no others."""
    expect(page.locator("ol.lines li:not([hidden]) a")).to_have_text(cases)


@pytest.fixture
def page(opened: Open, folder: Path) -> Any:
    return opened(folder / "index.html")


def test_worst_first(page: Any) -> None:
    lists(page, WORST_FIRST)


QUERIES = {
    "?verdict=drift": ["job/much", "other/early", "job/some"],
    "?verdict=error,incomparable": ["job/broken", "job/gone"],
    "?job=other": ["other/early", "other/hostile"],
    "?lora=b.safetensors": ["other/early"],
    "?step=20": ["other/early"],
    "?variant=shift 3": ["job/same"],
    "?text=PRUNED": ["job/gone"],
    "?text=red flower&verdict=match": ["job/same", "job/same"],
    "?verdict=drift&sort=case": ["job/much", "job/some", "other/early"],
    "?verdict=drift&sort=lpips": ["job/much", "other/early", "job/some"],
    "?verdict=drift&sort=ssim": ["job/much", "other/early", "job/some"],
    "?text=nothing like it": [],
}


def test_the_address_says_what_is_shown(page: Any, folder: Path) -> None:
    for query, expected in QUERIES.items():
        page.goto((folder / "index.html").as_uri() + query)
        lists(page, expected)
        expect(page.locator("#none")).to_be_visible(visible=not expected)
        expect(page.locator(".shown")).to_have_text(f"{len(expected)} of 8 shown")


def test_every_control_writes_the_address(page: Any) -> None:
    page.click('button[data-verdict="drift"]')
    page.fill("#find", "red")
    page.select_option('select[data-filter="job"]', "other")
    page.select_option('select[data-filter="step"]', "20")
    page.select_option("#sort", "psnr")
    lists(page, ["other/early"])
    query = page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    assert query == {"verdict": "drift", "text": "red", "job": "other", "step": "20", "sort": "psnr"}
    page.reload()
    lists(page, ["other/early"])
    page.click("#clear")
    lists(page, WORST_FIRST)
    expect(page).to_have_url(re.compile("index.html$"))


def test_keys(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("job/")
    expect(page).to_have_url(re.compile("text=job"))
    page.keyboard.press("Escape")
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("ol.lines a", has_text="job/much")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/cases/job--much\.html\?text=job"))


def test_number_keys_choose_verdicts_and_escape_shows_all(page: Any) -> None:
    page.keyboard.press("4")
    lists(page, ["job/gone"])
    page.keyboard.press("1")
    lists(page, ["job/broken", "job/gone"])
    expect(page).to_have_url(re.compile(r"verdict=error(,|%2C)incomparable"))
    page.keyboard.press("1")
    lists(page, ["job/gone"])
    page.keyboard.press("Escape")
    lists(page, WORST_FIRST)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(page.locator("ol.lines a", has_text="job/broken")).to_be_focused()


def test_a_case_steps_through_the_rows_that_pass(opened: Open, folder: Path) -> None:
    page = opened(folder / "index.html", "?verdict=drift&sort=case")
    page.click("text=job/much")
    shows(page, "job/much", "1 of 3")
    page.keyboard.press("4")
    for case, place in (("job/some", "2 of 3"), ("other/early", "3 of 3"), ("other/early", "3 of 3")):
        page.keyboard.press("j")
        shows(page, case, place)
    expect(page.locator(".stage")).to_have_attribute("data-mode", "blink")
    page.keyboard.press("k")
    shows(page, "job/some", "2 of 3")
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile(r"/index\.html\?verdict=drift&sort=case"))
    lists(page, ["job/much", "job/some", "other/early"])


def shows(page: Any, case: str, place: str) -> None:
    """Wait until a case is shown and its scripts, which write the place, listen to keys."""
    expect(page.locator("h1")).to_have_text(case)
    expect(page.locator(".place")).to_have_text(place)


def test_without_scripts_everything_can_be_read(opened: Open, folder: Path) -> None:
    page = opened(folder / "index.html", java_script_enabled=False)
    lists(page, WORST_FIRST)
    page.click("text=job/much")
    for name in ("preview", "rerun", "difference", "ssim", "lpips"):
        expect(page.locator(f'.pane[data-image="{name}"] img')).to_be_visible()
    expect(page.locator(".controls")).to_be_hidden()
