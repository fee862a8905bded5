"""A review: decided on cases, seen on the list, exported, applied."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from harness.judging.baseline_store import BaselineStore
from harness.report.formatting import slug
from harness.report.review import apply_review
from tests.report.browser.browser_runs import Open


def test_a_review_goes_from_the_page_to_the_baseline(opened: Open, folder: Path, tmp_path: Path) -> None:
    page = opened(folder / "cases/job--some.html", accept_downloads=True)
    page.keyboard.press("a")
    expect(page.locator('[data-decision="accept"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("n")
    page.keyboard.type("as it should be, j and x included")
    page.goto((folder / "cases/job--much.html").as_uri())
    page.keyboard.press("x")
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile(r"/index\.html"))
    expect(page.locator("#reviewed")).to_have_text("Reviewed: 1 accepted, 1 rejected")
    expect(page.locator("li:has-text('job/some') .decided")).to_have_text("accepted")

    page.fill("#reviewer", "Ada")
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "nightly.review.json"
    file = tmp_path / "review.json"
    download.value.save_as(file)
    review = json.loads(file.read_text())
    assert {each["case"]: each["decision"] for each in review["decisions"]} == {
        "job/some": "accept",
        "job/much": "reject",
    }

    done = apply_review(file, run=folder, root=tmp_path / "baselines")
    ((entry,),) = BaselineStore(tmp_path / "baselines").entries("job/some").values()
    assert (entry.accepted_by, entry.reason) == ("Ada", "as it should be, j and x included")
    assert done.rejected == ["job/much"]


def test_what_could_never_be_accepted_is_only_rejected(opened: Open, folder: Path) -> None:
    for name in ("job--broken", slug("job/same", "shift 3")):
        page = opened(folder / f"cases/{name}.html")
        expect(page.locator('[data-decision="reject"]')).to_be_visible()
        expect(page.locator('[data-decision="accept"]')).to_have_count(0)
        page.keyboard.press("a")
        assert page.evaluate("harness.decisions()") == {}
        page.keyboard.press("x")
        expect(page.locator('[data-decision="reject"]')).to_have_attribute("aria-pressed", "true")


def test_a_decision_can_be_taken_back(opened: Open, folder: Path) -> None:
    page = opened(folder / "cases/job--some.html")
    page.keyboard.press("a")
    page.reload()
    expect(page.locator('[data-decision="accept"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("a")
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile(r"/index\.html"))
    expect(page.locator(".finders")).to_be_visible()
    expect(page.locator(".review-bar")).to_be_hidden()
