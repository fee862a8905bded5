"""The page of a comparison: whole in one file, and strangers' text shown as text."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.comparison.compare import compare
from harness.pipeline.renderer import ReferenceRenderer
from harness.report.comparison_page import write_comparison_page
from harness.schema.case import Case
from tests.comparison.conftest import IMAGES, case_of, requests_of, truth_of

Cases = dict[tuple[int, int], Case]


def test_a_page_shows_pictures_settings_ladder_and_what_to_change(
    cases: Cases, renderer: ReferenceRenderer, tmp_path: Path
) -> None:
    truth = truth_of("result_1.jpg")
    found = compare(
        case_of(truth, cases), IMAGES / truth["file"], request=requests_of(truth), renderer=renderer
    )
    html = write_comparison_page([found], tmp_path / "page.html").read_text()
    assert html.count('<img src="data:image/') == 5
    assert "prompts[0].guidance_scale: 3.0 → 4.0" in html
    assert "the image itself" in html


def test_a_static_page_has_both_pictures_their_difference_and_no_ladder(cases: Cases, tmp_path: Path) -> None:
    found = compare(cases[300, 0], IMAGES / "inkprint_00002_.png", static=True)
    html = write_comparison_page([found], tmp_path / "page.html").read_text()
    assert html.count('<img src="data:image/') == 3
    assert "Hold to see the inference image" in html
    assert "From the image to the preview" not in html


def test_text_of_an_image_is_shown_as_text(cases: Cases, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "<script>alert(1)</script>\nSteps: 25, Seed: 42, Sampler: <img src=x>")
    Image.new("RGB", (128, 128)).save(tmp_path / "a.png", pnginfo=info)
    found = compare(cases[300, 0], tmp_path / "a.png", static=True)
    html = write_comparison_page([found], tmp_path / "page.html").read_text()
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_pictures_of_two_sizes_have_no_viewer(cases: Cases, tmp_path: Path) -> None:
    found = compare(cases[300, 0], IMAGES / "cat_thumb.jpg", static=True)
    html = write_comparison_page([found], tmp_path / "page.html").read_text()
    assert html.count('<img src="data:image/') == 2
    assert "data-mode" not in html.partition("<script>")[0].partition("</style>")[2]
