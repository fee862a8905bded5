"""The list of cases: filters and sort in the address, keys, stepping through what passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser_runs import Open

WORST_FIRST = [
    "job/broken", "job/much", "other/early", "job/some", "job/gone", "job/same", "job/same", "other/hostile",
]  # fmt: skip


def names(page: Any) -> list[str]:
    return [link.inner_text() for link in page.locator("ol.lines li:not([hidden]) a").all()]


@pytest.fixture
def page(opened: Open, folder: Path) -> Any:
    return opened(folder / "index.html")


def test_worst_first(page: Any) -> None:
    assert names(page) == WORST_FIRST


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


def test_the_address_says_what_is_shown(page: Any) -> None:
    for query, expected in QUERIES.items():
        page.evaluate("query => location.search = query", query)
        page.wait_for_url(lambda url, query=query: url.endswith(quote(query, safe="?=&,")))
        assert names(page) == expected, query
        assert page.locator("#none").is_visible() == (not expected)
        assert page.locator(".shown").inner_text() == f"{len(expected)} of 8 shown"


def test_every_control_writes_the_address(page: Any) -> None:
    page.click('button[data-verdict="drift"]')
    page.fill("#find", "red")
    page.select_option('select[data-filter="job"]', "other")
    page.select_option('select[data-filter="step"]', "20")
    page.select_option("#sort", "psnr")
    assert names(page) == ["other/early"]
    query = page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    assert query == {"verdict": "drift", "text": "red", "job": "other", "step": "20", "sort": "psnr"}
    page.reload()
    assert names(page) == ["other/early"]
    page.click("#clear")
    assert names(page) == WORST_FIRST
    assert page.evaluate("location.search") == ""


def test_keys(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("job/")
    assert "text=job" in page.url
    page.keyboard.press("Escape")
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.textContent") == "job/much"
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/job--much.html?text=job*")


def test_a_case_steps_through_the_rows_that_pass(opened: Open, folder: Path) -> None:
    page = opened(folder / "index.html", "?verdict=drift&sort=case")
    page.click("text=job/much")
    assert page.locator(".place").inner_text() == "1 of 3"
    page.keyboard.press("4")
    for key, shown in (("j", "job--some"), ("j", "other--early"), ("j", "other--early"), ("k", "job--some")):
        page.keyboard.press(key)
        page.wait_for_url(f"**/{shown}.html?*")
        assert page.locator(".stage").get_attribute("data-mode") == "blink"
    assert page.locator("h1").inner_text() == "job/some"
    page.keyboard.press("u")
    page.wait_for_url("**/index.html?verdict=drift&sort=case*")
    assert names(page) == ["job/much", "job/some", "other/early"]


def test_without_scripts_everything_can_be_read(opened: Open, folder: Path) -> None:
    page = opened(folder / "index.html", java_script_enabled=False)
    assert names(page) == WORST_FIRST
    page.click("text=job/much")
    page.wait_for_url("**/job--much.html")
    for name in ("preview", "rerun", "difference", "ssim", "lpips"):
        assert page.locator(f'.pane[data-image="{name}"] img').is_visible()
    assert not page.locator(".controls").is_visible()
