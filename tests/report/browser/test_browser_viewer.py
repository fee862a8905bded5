"""The viewer of a case: modes, zoom, pan, pixel values, marks and keys."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb
from tests.report.browser.browser_runs import Open, settle
from tests.report.report_runs import sample

MODES = {"1": "side", "2": "slider", "3": "onion", "4": "blink", "5": "map"}
VISIBLE = {
    "side": {"preview", "rerun", "difference"},
    "slider": {"preview", "rerun"},
    "onion": {"preview", "rerun"},
    "blink": {"preview"},
    "map": {"difference"},
}


@pytest.fixture
def page(opened: Open, folder: Path) -> Any:
    return opened(folder / "cases/job--much.html")


def port(page: Any, name: str) -> Any:
    return page.locator(f'.pane[data-image="{name}"] .port')


def box_of(page: Any, name: str) -> Any:
    settle(page)
    return port(page, name).bounding_box()


def image_box(page: Any) -> Any:
    settle(page)
    return port(page, "preview").locator("img").bounding_box()


def transform(page: Any, name: str) -> str:
    settle(page)
    return str(port(page, name).locator(".layer").evaluate("layer => layer.style.transform"))


def shows(page: Any, names: set[str]) -> None:
    """Wait until these pictures are seen, and no others."""
    for name in ("preview", "rerun", "difference", "ssim", "lpips"):
        expect(port(page, name)).to_be_visible(visible=name in names)


def is_in_mode(page: Any, mode: str) -> None:
    expect(page.locator(".stage")).to_have_attribute("data-mode", mode)


def is_scaled(page: Any, percent: int) -> None:
    expect(page.locator(".scale")).to_have_text(f"{percent} %")


@pytest.mark.parametrize(("key", "mode"), MODES.items())
def test_modes_by_key_and_by_button_are_kept_in_the_address(page: Any, key: str, mode: str) -> None:
    page.keyboard.press(key)
    is_in_mode(page, mode)
    shows(page, VISIBLE[mode])
    expect(page.locator(f'[data-mode="{mode}"][aria-pressed="true"]')).to_have_count(1)
    expect(page).to_have_url(re.compile("html$" if mode == "side" else f"mode={mode}"))
    page.reload()
    is_in_mode(page, mode)
    page.keyboard.press("1")
    page.click(f'button[data-mode="{mode}"]')
    shows(page, VISIBLE[mode])


def test_the_slider_follows_pointer_and_range(page: Any) -> None:
    page.keyboard.press("2")
    box = box_of(page, "preview")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    expect(port(page, "rerun")).to_have_css("clip-path", "inset(0px 0px 0px 25%)")
    page.locator(".amount input").focus()
    page.keyboard.press("End")
    expect(port(page, "rerun")).to_have_css("clip-path", "inset(0px 0px 0px 100%)")


def test_the_onion_skin_follows_its_range(page: Any) -> None:
    page.keyboard.press("3")
    expect(port(page, "rerun")).to_have_css("opacity", "0.5")
    page.locator(".amount input").focus()
    page.keyboard.press("Home")
    expect(port(page, "rerun")).to_have_css("opacity", "0")


def test_blink_shows_the_rerun_while_held(page: Any) -> None:
    page.keyboard.down("b")
    is_in_mode(page, "blink")
    shows(page, {"preview", "rerun"})
    page.keyboard.up("b")
    shows(page, {"preview"})
    settle(page)
    hold = page.locator(".hold").bounding_box()
    page.mouse.move(hold["x"] + 5, hold["y"] + 5)
    page.mouse.down()
    shows(page, {"preview", "rerun"})
    page.mouse.up()
    shows(page, {"preview"})


def test_maps_are_chosen_by_m_and_have_their_scale(page: Any) -> None:
    page.keyboard.press("5")
    for name in ("ssim", "lpips", "difference"):
        page.keyboard.press("m")
        shows(page, {name})
        legend = page.locator(f'.pane[data-image="{name}"] .legend')
        expect(legend).to_be_visible()
        expect(legend).to_have_attribute("aria-label", re.compile(r"\(dark, equal\)"))


def test_small_images_stand_one_to_one(page: Any) -> None:
    is_scaled(page, 100)
    box = image_box(page)
    assert (box["width"], box["height"]) == (128, 128)


def test_zoom_and_pan_go_in_step(page: Any) -> None:
    for _ in range(5):
        page.keyboard.press("+")
    is_scaled(page, 600)
    expect(page).to_have_url(re.compile("zoom=6"))
    before = transform(page, "preview")
    box = box_of(page, "preview")
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 80)
    page.mouse.up()
    assert transform(page, "preview") != before
    assert transform(page, "preview") == transform(page, "rerun") == transform(page, "difference")
    page.locator(".stage").focus()
    moved = transform(page, "preview")
    page.keyboard.press("ArrowLeft")
    assert transform(page, "preview") != moved
    page.keyboard.press("-")
    is_scaled(page, 400)
    page.keyboard.press("0")
    is_scaled(page, 100)
    page.keyboard.press("f")
    assert transform(page, "preview").startswith("translate(0px, 0px)")


def test_the_wheel_zooms_with_control_only(page: Any) -> None:
    port(page, "preview").hover()
    page.mouse.wheel(0, -100)
    is_scaled(page, 100)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    is_scaled(page, 150)


@pytest.mark.parametrize("pixel", [(0, 0), (77, 31), (127, 127)])
def test_pixel_values_under_the_pointer_are_those_that_were_scored(
    page: Any, folder: Path, pixel: tuple[int, int]
) -> None:
    x, y = pixel
    box = image_box(page)
    page.mouse.move(box["x"] + x + 0.5, box["y"] + y + 0.5)
    rerun = load_rgb(folder / "images/job/much/reference/rerun.png")
    matched = np.array(Image.open(io.BytesIO(Codec.of(sample(30, 0)).encode(rerun))))
    before, after = (image[y, x].astype(int) for image in (load_rgb(sample(30, 0)), matched))
    values = [" ".join(map(str, each)) for each in (before, after)]
    expect(page.locator(".readout output")).to_have_text(
        f"x {x}, y {y}: preview {values[0]}, re-run {values[1]}, "
        f"largest difference {np.abs(before - after).max()}"
    )


def test_the_rerun_is_shown_as_it_was_scored_or_as_rendered(page: Any) -> None:
    image = port(page, "rerun").locator("img")
    expect(image).to_have_attribute("src", re.compile("^data:image/jpeg"))
    page.keyboard.press("r")
    expect(image).to_have_attribute("src", re.compile(r"images/job/much/reference/rerun\.png$"))
    expect(page).to_have_url(re.compile("raw=1"))


def test_the_worst_tile_is_marked_and_can_be_zoomed_to(page: Any) -> None:
    tile = port(page, "difference").locator(".tile")
    expect(tile).to_be_visible()
    page.keyboard.press("t")
    expect(tile).to_be_hidden()
    page.keyboard.press("z")
    is_scaled(page, 300)


def test_the_keys_are_listed(page: Any) -> None:
    page.keyboard.press("?")
    dialog = page.locator("dialog.keys")
    expect(dialog).to_be_visible()
    assert {"j", "k", "b", "z", "?"} <= {key.inner_text() for key in dialog.locator("kbd").all()}
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.click(".help")
    expect(dialog).to_be_visible()


def test_the_recipe_is_copied(opened: Open, folder: Path) -> None:
    page = opened(folder / "cases/job--much.html", permissions=["clipboard-read", "clipboard-write"])
    button = page.locator(".copy").last
    button.click()
    expect(button).to_have_text("Copied")
    assert '"prompt": "a red flower"' in page.evaluate("navigator.clipboard.readText()")
