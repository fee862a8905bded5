"""The page: what it shows, in which order, and that it needs nothing but its folder."""

from __future__ import annotations

from PIL import Image

from harness.schema.result import Verdict
from tests.report.pages import case_of_page, lines, names, page_of
from tests.report.report_page import read_page
from tests.report.report_runs import Run, case_of, sample


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


def test_a_run_that_nothing_could_be_compared_in(run: Run) -> None:
    preview = sample(0, 2)
    run.bare(case_of(preview, "job/a", lora=None), preview, Verdict.INCOMPARABLE, "the seed is random")
    article = case_of_page(run, "job--a")
    assert [figure.one("strong").words for figure in article.all("figure")] == ["Preview"]
    assert article.all("table", class_="measures") == []
    assert article.all("td", class_="state") == []
    assert "nothing was rendered" in article.words
