"""A real Chromium looks at real reports; nothing here is mocked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.build import build_report
from harness.report.history_page import build_history
from tests.report.browser.browser_runs import Open, make_run
from tests.report.report_runs import Run

PATIENCE = 30_000
"""Milliseconds; a test never waits this long unless it fails."""

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        message = "the browser tests need Chromium: apt-get install chromium, or set CHROMIUM to its path"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, which no test changes."""
    path = make_run(tmp_path_factory.mktemp("browser") / "nightly")
    build_report(path)
    build_report(Run(path.with_name("empty")).path)
    build_history(path.parent)
    return path


@pytest.fixture(scope="session")
def single(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single file, alone in another folder."""
    made = build_report(folder, single_file=True)
    return Path(shutil.move(made, tmp_path_factory.mktemp("mailed") / "report.html"))


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Open a page; at the end of the test, nothing may have left the disk or gone wrong on the way."""
    contexts, wrong = [], []

    def watch(page: Any) -> None:
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: wrong.append(request.url) if _leaves(request.url) else None)
        page.on("requestfailed", failed)

    def failed(request: Any) -> None:
        if request.failure != LEFT:
            wrong.append(f"{request.failure}: {request.url[:200]}")

    def open_page(path: Path, query: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        context.on("page", watch)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(path.as_uri() + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


LEFT = "net::ERR_ABORTED"
"""What a request says whose page was left before it ended."""


def _leaves(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))
