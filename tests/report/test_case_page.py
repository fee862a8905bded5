from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from harness.metrics.images import save_png
from harness.schema.result import Verdict
from tests.report.pages import case_of_page, lines, page_of
from tests.report.report_page import read_page
from tests.report.report_runs import Run, case_of, sample


def test_pictures_stand_side_by_side(mixed: Run) -> None:
    article = case_of_page(mixed, "job--much")
    titles = [figure.one("strong").words for figure in article.all("figure")]
    assert titles == ["Preview", "Re-run", "Difference", "SSIM map", "LPIPS map"]
    assert [len(figure.all("div", class_="legend")) for figure in article.all("figure")] == [0, 0, 1, 1, 1]
    for figure in article.all("figure"):
        image = figure.one("img")
        assert (image.attributes["width"], image.attributes["height"]) == ("256", "256")
        assert image.attributes["class"] == "pixelated"
        assert image.attributes["alt"]


def test_only_a_pair_of_one_size_can_be_laid_over_each_other(run: Run) -> None:
    preview = sample(30, 0)
    run.bare(case_of(preview, "job/bare"), preview, Verdict.ERROR, "failed")
    run.compared(case_of(preview, "job/pair"), preview, sample(0, 0))
    assert case_of_page(run, "job--bare").all("div", class_="controls") == []
    assert len(case_of_page(run, "job--pair").all("div", class_="controls")) == 1


def test_an_image_that_is_gone_is_said_to_be(mixed: Run) -> None:
    (mixed.path / "images/job/much/reference/ssim.png").unlink()
    article = case_of_page(mixed, "job--much")
    assert article.one("p", class_="missing").words.endswith("images/job/much/reference/ssim.png")


def test_two_variants_of_a_case_have_their_own_pages(make_run: Callable[[str], Run]) -> None:
    run, preview = make_run("sweep run #1"), sample(30, 0)
    for variant in ("reference", "static shift 3"):
        run.compared(case_of(preview, "job/one two"), preview, sample(20, 0), variant=variant)
    page = page_of(run)
    pages = {line.one("a").attributes["href"] or "" for line in lines(page)}
    assert len(pages) == 2
    for name in pages:
        for image in read_page(run.path / name).all("img"):
            assert (run.path / "cases" / unquote(image.attributes["src"] or "")).is_file()
    assert page.one("h1").words == "sweep run #1"


@pytest.mark.parametrize(
    ("natural", "shown", "pixelated"),
    [
        ((96, 160), ("192", "320"), True),
        ((320, 64), ("320", "64"), True),
        ((512, 384), ("256", "192"), False),
    ],
)
def test_small_images_are_enlarged_by_whole_factors(
    run: Run, tmp_path: Path, natural: tuple[int, int], shown: tuple[str, str], pixelated: bool
) -> None:
    preview, rerun = tmp_path / "preview.png", tmp_path / "rerun.png"
    for path, value in ((preview, 10), (rerun, 200)):
        save_png(path, np.full((natural[1], natural[0], 3), value, np.uint8))
    run.compared(case_of(preview, "job/a"), preview, rerun)
    for figure in case_of_page(run, "job--a").all("figure"):
        image = figure.one("img")
        assert (image.attributes["width"], image.attributes["height"]) == shown
        assert ("class" in image.attributes) == pixelated


def test_the_marked_tile_stays_inside_the_image(run: Run) -> None:
    preview = sample(30, 2)
    row = run.compared(case_of(preview, "job/a"), preview, sample(0, 2))
    assert row.pixels is not None
    drawing = case_of_page(run, "job--a").all("svg", class_="tile")[0]
    assert drawing.attributes["viewbox"] == "0 0 96 160"
    box = {name: int(drawing.all("rect")[0].attributes[name] or "") for name in ("x", "y", "width", "height")}
    assert (box["x"], box["y"]) == (row.pixels.worst_tile.x, row.pixels.worst_tile.y)
    assert box["x"] + box["width"] <= 96
    assert box["y"] + box["height"] <= 160
