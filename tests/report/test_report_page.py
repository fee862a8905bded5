"""The page: what it shows, in which order, and that it needs nothing but its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from report_page import Element, read_page
from report_runs import Run, case_of, sample

from harness.errors import RunError
from harness.report.build import build_report
from harness.runs.row import Verdict
from harness.scoring.images import save_png


def page_of(run: Run) -> Element:
    return read_page(build_report(run.path))


def targets(page: Element) -> Iterator[str]:
    for element in page.all():
        for name in ("href", "src"):
            if (value := element.attributes.get(name)) is not None:
                yield value


def test_worst_first(mixed: Run) -> None:
    names = [article.one("h3").words for article in page_of(mixed).all("article")]
    assert names == ["job/broken", "job/much", "job/some", "job/gone", "job/close", "job/same"]


def test_counts_are_words_and_numbers(mixed: Run) -> None:
    page = page_of(mixed)
    assert [chip.words for chip in page.all("button", class_="chip")] == [
        "error 1", "drift 2", "incomparable 1", "match 2",
    ]  # fmt: skip
    summary = page.one("p", class_="summary").words
    assert summary == "Of 6 re-runs, 1 failed to render, 2 drifted, 1 cannot be compared; 2 match."


def test_every_verdict_has_its_mark_and_its_colour(mixed: Run) -> None:
    page = page_of(mixed)
    css = (mixed.path / "assets" / "report.css").read_text()
    marks = {symbol.attributes["id"] for symbol in page.all("symbol")}
    assert marks == {f"mark-{verdict}" for verdict in Verdict}
    assert all(f".{verdict} {{ --verdict:" in css for verdict in Verdict)


def test_every_case_says_its_verdict_in_words(mixed: Run) -> None:
    for article in page_of(mixed).all("article"):
        verdict = article.attributes["data-verdict"]
        assert article.one("span", class_="verdict").words == verdict


def test_pictures_stand_side_by_side(mixed: Run) -> None:
    article = page_of(mixed).one("article", id="case-job--much")
    titles = [figure.one("strong").words for figure in article.all("figure")]
    assert titles == ["Preview", "Re-run", "Difference", "SSIM map", "LPIPS map"]
    assert [len(figure.all("div", class_="legend")) for figure in article.all("figure")] == [0, 0, 1, 1, 1]
    for figure in article.all("figure"):
        image = figure.one("img")
        assert (image.attributes["width"], image.attributes["height"]) == ("256", "256")
        assert image.attributes["class"] == "pixelated"
        assert image.attributes["loading"] == "lazy"
        assert image.attributes["alt"]


def test_what_needs_a_look_lies_open(mixed: Run) -> None:
    opened = {
        article.attributes["data-verdict"]: "open" in article.all("details")[0].attributes
        for article in page_of(mixed).all("article")
    }
    assert opened == {"error": True, "drift": True, "incomparable": True, "match": False}


def test_every_local_link_and_asset_exists(mixed: Run) -> None:
    page = page_of(mixed)
    anchors = {element.attributes.get("id") for element in page.all()}
    found = list(targets(page))
    assert len(found) > 40
    for target in found:
        if target.startswith("#"):
            assert target[1:] in anchors
        elif target != "data:,":
            assert (mixed.path / unquote(target)).is_file(), target


def test_nothing_leaves_the_disk(mixed: Run) -> None:
    page = build_report(mixed.path)
    for file in (page, *(mixed.path / "assets").iterdir()):
        text = file.read_text(encoding="utf-8").lower()
        assert "http:" not in text, file
        assert "https:" not in text, file
        assert "//cdn" not in text, file


def test_ids_are_unique(mixed: Run) -> None:
    ids = [element.attributes["id"] for element in page_of(mixed).all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def test_building_twice_gives_the_same_bytes(mixed: Run) -> None:
    first = build_report(mixed.path).read_bytes()
    assert build_report(mixed.path).read_bytes() == first
    assert {file.name for file in (mixed.path / "assets").iterdir()} == {"report.css", "report.js"}


def test_a_run_without_rows(run: Run) -> None:
    page = page_of(run)
    assert page.all("article") == []
    assert page.one("p", class_="summary").words == "This run holds no results yet."


def test_a_run_that_nothing_could_be_compared_in(run: Run) -> None:
    preview = sample(0, 2)
    run.bare(case_of(preview, "job/a", lora=None), preview, Verdict.INCOMPARABLE, "the seed is random")
    article = page_of(run).one("article")
    assert [figure.one("strong").words for figure in article.all("figure")] == ["Preview"]
    assert article.all("table", class_="measures") == []
    assert article.all("td", class_="state") == []
    assert "nothing was rendered" in article.words


def test_an_image_that_is_gone_is_said_to_be(mixed: Run) -> None:
    (mixed.path / "images/job/much/reference/ssim.png").unlink()
    article = page_of(mixed).one("article", id="case-job--much")
    assert article.one("p", class_="missing").words.endswith("images/job/much/reference/ssim.png")


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        build_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_row_leaves_the_old_report(mixed: Run) -> None:
    before = build_report(mixed.path).read_bytes()
    with (mixed.path / "results.jsonl").open("a") as stream:
        stream.write('{"case": "x"}\n')
    with pytest.raises(RunError, match="Field required"):
        build_report(mixed.path)
    assert (mixed.path / "index.html").read_bytes() == before


def test_two_variants_of_a_case_have_their_own_anchors(make_run: Callable[[str], Run]) -> None:
    run, preview = make_run("sweep run #1"), sample(30, 0)
    for variant in ("reference", "static shift 3"):
        run.compared(case_of(preview, "job/one two"), preview, sample(20, 0), variant=variant)
    page = page_of(run)
    anchors = [article.attributes["id"] for article in page.all("article")]
    assert len(set(anchors)) == 2
    assert all((run.path / unquote(image.attributes["src"] or "")).is_file() for image in page.all("img"))
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
    for figure in page_of(run).all("figure"):
        image = figure.one("img")
        assert (image.attributes["width"], image.attributes["height"]) == shown
        assert ("class" in image.attributes) == pixelated


def test_the_marked_tile_stays_inside_the_image(run: Run) -> None:
    preview = sample(30, 2)
    row = run.compared(case_of(preview, "job/a"), preview, sample(0, 2))
    assert row.pixels is not None
    drawing = page_of(run).one("svg", class_="tile")
    assert drawing.attributes["viewbox"] == "0 0 96 160"
    box = {name: int(drawing.all("rect")[0].attributes[name] or "") for name in ("x", "y", "width", "height")}
    assert (box["x"], box["y"]) == (row.pixels.worst_tile.x, row.pixels.worst_tile.y)
    assert box["x"] + box["width"] <= 96
    assert box["y"] + box["height"] <= 160
