"""The viewer of a case: modes, zoom, pan, pixel values, marks and keys."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_runs import Open
from PIL import Image
from report_runs import sample

from harness.scoring.codec import Codec
from harness.scoring.images import load_rgb

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


def transform(page: Any, name: str) -> str:
    return str(port(page, name).locator(".layer").evaluate("layer => layer.style.transform"))


def shown(page: Any) -> set[str]:
    names = ("preview", "rerun", "difference", "ssim", "lpips")
    return {name for name in names if port(page, name).is_visible()}


@pytest.mark.parametrize(("key", "mode"), MODES.items())
def test_modes_by_key_and_by_button_are_kept_in_the_address(page: Any, key: str, mode: str) -> None:
    page.keyboard.press(key)
    assert page.locator(".stage").get_attribute("data-mode") == mode
    assert shown(page) == VISIBLE[mode]
    assert page.locator(f'[data-mode="{mode}"][aria-pressed="true"]').count() == 1
    assert ("mode=" in page.url) == (mode != "side")
    page.reload()
    assert page.locator(".stage").get_attribute("data-mode") == mode
    page.keyboard.press("1")
    page.click(f'button[data-mode="{mode}"]')
    assert shown(page) == VISIBLE[mode]


def test_the_slider_follows_pointer_and_range(page: Any) -> None:
    page.keyboard.press("2")
    box = port(page, "preview").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    assert port(page, "rerun").evaluate("port => port.style.clipPath") == "inset(0px 0px 0px 25%)"
    page.locator(".amount input").focus()
    page.keyboard.press("End")
    assert port(page, "rerun").evaluate("port => port.style.clipPath") == "inset(0px 0px 0px 100%)"


def test_the_onion_skin_follows_its_range(page: Any) -> None:
    page.keyboard.press("3")
    assert port(page, "rerun").evaluate("port => port.style.opacity") == "0.5"
    page.locator(".amount input").focus()
    page.keyboard.press("Home")
    assert port(page, "rerun").evaluate("port => port.style.opacity") == "0"


def test_blink_shows_the_rerun_while_held(page: Any) -> None:
    page.keyboard.down("b")
    assert page.locator(".stage").get_attribute("data-mode") == "blink"
    assert "rerun" in shown(page)
    page.keyboard.up("b")
    assert shown(page) == {"preview"}
    hold = page.locator(".hold").bounding_box()
    page.mouse.move(hold["x"] + 5, hold["y"] + 5)
    page.mouse.down()
    assert "rerun" in shown(page)
    page.mouse.up()
    assert shown(page) == {"preview"}


def test_maps_are_chosen_by_m_and_have_their_scale(page: Any) -> None:
    page.keyboard.press("5")
    for name in ("ssim", "lpips", "difference"):
        page.keyboard.press("m")
        assert shown(page) == {name}
        legend = page.locator(f'.pane[data-image="{name}"] .legend')
        assert legend.is_visible()
        assert "(dark, equal)" in legend.get_attribute("aria-label")


def test_small_images_stand_one_to_one(page: Any) -> None:
    assert page.locator(".scale").inner_text() == "100 %"
    box = port(page, "preview").locator("img").bounding_box()
    assert (box["width"], box["height"]) == (128, 128)


def test_zoom_and_pan_go_in_step(page: Any) -> None:
    for _ in range(5):
        page.keyboard.press("+")
    assert page.locator(".scale").inner_text() == "600 %"
    assert "zoom=6" in page.url
    before = transform(page, "preview")
    box = port(page, "preview").bounding_box()
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
    page.keyboard.press("0")
    assert page.locator(".scale").inner_text() == "100 %"
    page.keyboard.press("f")
    assert transform(page, "preview").startswith("translate(0px, 0px)")


def test_the_wheel_zooms_with_control_only(page: Any) -> None:
    port(page, "preview").hover()
    page.mouse.wheel(0, -100)
    assert page.locator(".scale").inner_text() == "100 %"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    assert page.locator(".scale").inner_text() == "150 %"


@pytest.mark.parametrize("pixel", [(0, 0), (77, 31), (127, 127)])
def test_pixel_values_under_the_pointer_are_those_that_were_scored(
    page: Any, folder: Path, pixel: tuple[int, int]
) -> None:
    x, y = pixel
    box = port(page, "preview").locator("img").bounding_box()
    page.mouse.move(box["x"] + x + 0.5, box["y"] + y + 0.5)
    page.wait_for_function("document.querySelector('.readout').textContent.includes('re-run')")
    rerun = load_rgb(folder / "images/job/much/reference/rerun.png")
    matched = np.array(Image.open(io.BytesIO(Codec.of(sample(30, 0)).encode(rerun))))
    before, after = (image[y, x].astype(int) for image in (load_rgb(sample(30, 0)), matched))
    values = [" ".join(map(str, each)) for each in (before, after)]
    assert page.locator(".readout output").inner_text() == (
        f"x {x}, y {y}: preview {values[0]}, re-run {values[1]}, "
        f"largest difference {np.abs(before - after).max()}"
    )


def test_the_rerun_is_shown_as_it_was_scored_or_as_rendered(page: Any) -> None:
    image = port(page, "rerun").locator("img")
    assert image.get_attribute("src").startswith("data:image/jpeg")
    page.keyboard.press("r")
    assert image.get_attribute("src").endswith("images/job/much/reference/rerun.png")
    assert "raw=1" in page.url


def test_the_worst_tile_is_marked_and_can_be_zoomed_to(page: Any) -> None:
    tile = port(page, "difference").locator(".tile")
    assert tile.is_visible()
    page.keyboard.press("t")
    assert not tile.is_visible()
    page.keyboard.press("z")
    assert int(page.locator(".scale").inner_text().split()[0]) > 100


def test_the_keys_are_listed(page: Any) -> None:
    page.keyboard.press("?")
    dialog = page.locator("dialog.keys")
    assert dialog.is_visible()
    assert {"j", "k", "b", "z", "?"} <= {key.inner_text() for key in dialog.locator("kbd").all()}
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.click(".help")
    assert dialog.is_visible()


def test_the_recipe_is_copied(opened: Open, folder: Path) -> None:
    page = opened(folder / "cases/job--much.html", permissions=["clipboard-read", "clipboard-write"])
    page.click(".copy")
    page.wait_for_function("document.querySelector('.copy').textContent === 'Copied'")
    assert '"prompt": "a red flower"' in page.evaluate("navigator.clipboard.readText()")
