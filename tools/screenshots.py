"""Renew the README's two screenshots from the demo's report, with Playwright and Chromium.

harness demo --out /tmp/demo --cases /tmp/demo-cases && python tools/screenshots.py /tmp/demo
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def shoot(browser: Any, page: Path, out: Path, height: int, scheme: str) -> None:
    """Save a page 1280 pixels wide, light or dark, as a PNG of 256 colours."""
    from PIL import Image

    view = browser.new_page(viewport={"width": 1280, "height": height}, color_scheme=scheme)
    view.goto(page.resolve().as_uri())
    view.wait_for_load_state("networkidle")
    if (fit := view.get_by_role("button", name="Fit", exact=True)).count():
        fit.click()
    view.screenshot(path=out)
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)
    view.close()


def main() -> None:
    """Photograph the list in light and the drifted case in dark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="run folder of harness demo")
    run = parser.parse_args().run
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shoot(browser, run / "index.html", IMAGES / "report-list.png", 740, "light")
        (case,) = (run / "cases").glob("*wrong-guidance*.html")
        shoot(browser, case, IMAGES / "report-case.png", 1060, "dark")
        browser.close()


if __name__ == "__main__":
    main()
