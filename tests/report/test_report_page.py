"""The page: what it shows, in which order, and that it needs nothing but its folder."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from harness.errors import RunError
from harness.metrics.codec import Codec
from harness.metrics.images import load_rgb, save_png
from harness.report import case_pages as cases
from harness.report.build import build_report
from harness.schema.result import Verdict
from tests.report.report_page import Element, read_page
from tests.report.report_runs import Run, case_of, sample

SVG_NAMESPACE = "http://www.w3.org/2000/svg"


def page_of(run: Run) -> Element:
    return read_page(build_report(run.path))


def case_of_page(run: Run, slug: str) -> Element:
    build_report(run.path)
    return read_page(run.path / "cases" / f"{slug}.html").one("article")


def lines(page: Element) -> list[Element]:
    return page.one("ol", class_="lines").all("li")


def names(page: Element) -> list[str]:
    return [line.one("a").words for line in lines(page)]


def targets(page: Element) -> Iterator[str]:
    for element in page.all():
        for name in ("href", "src"):
            if (value := element.attributes.get(name)) is not None:
                yield value


def test_worst_first(mixed: Run) -> None:
    assert names(page_of(mixed)) == [
        "job/broken", "job/much", "job/some", "job/gone", "job/close", "job/same",
    ]  # fmt: skip


def test_counts_are_words_and_numbers(mixed: Run) -> None:
    page = page_of(mixed)
    assert [chip.words for chip in page.all("button", class_="chip")] == [
        "error 1", "regression 0", "drift 2", "incomparable 1", "match 2",
    ]  # fmt: skip
    summary = page.one("p", class_="summary").words
    assert summary == "Of 6 re-runs, 1 failed to render, 2 drifted, 1 cannot be compared; 2 match."


def test_every_verdict_has_its_mark_its_colour_and_its_meaning(mixed: Run) -> None:
    page = page_of(mixed)
    css = (mixed.path / "assets" / "report.css").read_text()
    meanings = page.one("dl", class_="glossary")
    for verdict in Verdict:
        assert f".{verdict} {{ --verdict: var(--{verdict}); --shape: url(" in css
        assert css.count(f"--{verdict}: #") == 2, "light and dark"
        assert meanings.all("div", class_=verdict)


def test_every_case_says_its_verdict_in_words(mixed: Run) -> None:
    page = page_of(mixed)
    for line in lines(page):
        verdict = line.one("span", class_="verdict").words
        assert line.attributes["class"] == verdict
        article = read_page(mixed.path / (line.one("a").attributes["href"] or "")).one("article")
        assert article.one("p", class_="verdict").words == verdict


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


def test_thumbnails_are_small_and_lazy(mixed: Run) -> None:
    for line in lines(page_of(mixed)):
        image = line.one("img")
        assert image.attributes["loading"] == "lazy"
        with Image.open(mixed.path / (image.attributes["src"] or "")) as thumb:
            assert thumb.size == (3 * 64, 64)
            shown = [thumb.convert("RGBA").getpixel((64 * place + 32, 32))[3] > 0 for place in range(3)]
            is_bare = line.attributes["class"] in {"error", "incomparable"}
            assert shown == [True, not is_bare, not is_bare]


def test_scores_past_their_limit_are_marked(mixed: Run) -> None:
    marked = {
        line.one("a").words: [score.words for score in line.all("b", class_="past")]
        for line in lines(page_of(mixed))
    }
    assert marked["job/much"] == ["SSIM 0.3000", "LPIPS 0.4000"]
    assert marked["job/some"] == ["SSIM 0.9700"]
    assert not any(marked[name] for name in marked if name not in {"job/much", "job/some"})


def test_the_scored_pair_is_kept_for_reading_pixels(mixed: Run) -> None:
    build_report(mixed.path)
    script = (mixed.path / "cases" / "job--much.js").read_text()
    pair = json.loads(script.partition(" = ")[2].rstrip(";\n"))["job--much"]
    decoded = {name: base64.b64decode(address.partition(",")[2]) for name, address in pair.items()}
    assert decoded["preview"] == sample(30, 0).read_bytes()
    rerun = mixed.path / "images/job/much/reference/rerun.png"
    matched = Codec.of(sample(30, 0)).apply(load_rgb(rerun))
    with Image.open(io.BytesIO(decoded["rerun"])) as image:
        assert np.array_equal(np.array(image), matched)


def test_pixels_beyond_the_budget_are_left_out(mixed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "PIXEL_BUDGET", 4 * sample(30, 0).stat().st_size)
    build_report(mixed.path)
    kept = {file.stem for file in (mixed.path / "cases").glob("*.js")} - {"rows"}
    assert kept == {"job--much"}
    scripts = [
        script.attributes["src"] for script in read_page(mixed.path / "cases/job--some.html").all("script")
    ]
    assert "job--some.js" not in scripts


def test_every_local_link_and_asset_exists(mixed: Run) -> None:
    build_report(mixed.path)
    pages = [mixed.path / "index.html", *(mixed.path / "cases").glob("*.html")]
    assert len(pages) == 7
    for file in pages:
        page = read_page(file)
        anchors = {element.attributes.get("id") for element in page.all()}
        found = list(targets(page))
        assert len(found) > 8
        for target in found:
            if target.startswith("#"):
                assert target[1:] in anchors
            elif target != "data:,":
                assert (file.parent / unquote(target)).is_file(), target


def test_nothing_leaves_the_disk(mixed: Run) -> None:
    build_report(mixed.path)
    build_report(mixed.path, single_file=True)
    written = [
        *mixed.path.glob("*.html"),
        *(mixed.path / "cases").iterdir(),
        *(mixed.path / "assets").iterdir(),
    ]
    for file in (file for file in written if file.suffix != ".webp"):
        text = file.read_text(encoding="utf-8").lower().replace(SVG_NAMESPACE, "")
        assert "http:" not in text, file
        assert "https:" not in text, file
        assert "//cdn" not in text, file


def test_ids_are_unique(mixed: Run) -> None:
    for page in (page_of(mixed), read_page(mixed.path / "cases/job--much.html")):
        ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("single_file", [False, True])
def test_building_twice_gives_the_same_bytes(mixed: Run, single_file: bool) -> None:
    def built() -> dict[str, bytes]:
        build_report(mixed.path, single_file=single_file)
        return {str(file): file.read_bytes() for file in mixed.path.rglob("*") if file.is_file()}

    assert built() == built()


def test_several_processes_build_the_same_bytes(mixed: Run) -> None:
    build_report(mixed.path, jobs=1)
    alone = {file: file.read_bytes() for file in (mixed.path / "cases").iterdir()}
    shutil.rmtree(mixed.path / "cases")
    build_report(mixed.path, jobs=2)
    assert {file: file.read_bytes() for file in (mixed.path / "cases").iterdir()} == alone


def test_what_did_not_change_is_not_touched_and_left_overs_go(mixed: Run) -> None:
    index = build_report(mixed.path)
    stale = mixed.path / "cases" / "job--of-yesterday.html"
    stale.write_text("old")
    before = index.stat().st_mtime_ns
    build_report(mixed.path)
    assert index.stat().st_mtime_ns == before
    assert not stale.exists()


def test_the_single_file_needs_no_other_file(mixed: Run) -> None:
    path = build_report(mixed.path, single_file=True)
    page = read_page(path)
    assert not any(target for target in targets(page) if not target.startswith(("#", "data:")))
    assert [template.attributes["id"] for template in page.all("template")][1] == "job--much"
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == len(page.all("script")) + len(page.all("style"))


def test_a_run_without_rows(run: Run) -> None:
    page = page_of(run)
    assert page.all("ol") == []
    assert page.one("p", class_="summary").words == "This run holds no results yet."


def test_a_run_that_nothing_could_be_compared_in(run: Run) -> None:
    preview = sample(0, 2)
    run.bare(case_of(preview, "job/a", lora=None), preview, Verdict.INCOMPARABLE, "the seed is random")
    article = case_of_page(run, "job--a")
    assert [figure.one("strong").words for figure in article.all("figure")] == ["Preview"]
    assert article.all("table", class_="measures") == []
    assert article.all("td", class_="state") == []
    assert "nothing was rendered" in article.words


def test_an_image_that_is_gone_is_said_to_be(mixed: Run) -> None:
    (mixed.path / "images/job/much/reference/ssim.png").unlink()
    article = case_of_page(mixed, "job--much")
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
