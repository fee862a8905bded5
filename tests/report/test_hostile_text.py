"""Text from outside is shown as text, and never becomes part of the page."""

from __future__ import annotations

import pytest

from harness.report.build import build_report
from harness.schema.case_parts import SampleSettings, Trained
from harness.schema.metric_limits import Tolerance
from harness.schema.result import Images, Verdict
from tests.report.report_page import Element, read_page
from tests.report.report_runs import Run, case_of, sample

HOSTILE = (
    "</p></article><script>alert(1)</script><img src=x onerror=alert(2)>"
    " \"quoted\" 'single' &amp; {{ 7 * 7 }} {% raw %} --> ]]> \u202eright to left\u202c שלום مرحبا"
)


def case_page_of(run: Run) -> Element:
    (page,) = (run.path / "cases").glob("*.html")
    return read_page(page)


@pytest.mark.parametrize("prompt", [HOSTILE, "flower <b>" * 1000, "line\nbreak\n\n  indented", ""])
def test_prompts(run: Run, prompt: str) -> None:
    preview = sample(30, 0)
    settings = SampleSettings(prompt=prompt, width=128, height=128, sample_steps=4)
    run.compared(case_of(preview, "job/a", settings=settings), preview, sample(0, 0))
    index = read_page(build_report(run.path))
    page = case_page_of(run)
    assert page.one("section", class_="prompt").one("p").text == prompt
    assert all(script.attributes.get("src") and not script.text for script in page.all("script"))
    assert len(page.all("article")) == len(index.all("li")) == 1
    single = read_page(build_report(run.path, single_file=True))
    assert single.one("section", class_="prompt").one("p").text == prompt


def test_every_other_free_text(run: Run) -> None:
    preview = sample(30, 0)
    case = case_of(
        preview,
        "job/a",
        trained=Trained(dtype=HOSTILE, base=HOSTILE, quantize=True, qtype=HOSTILE),
        settings=SampleSettings(prompt="x", neg=HOSTILE, width=128, height=128, sample_steps=4),
        assumptions=[HOSTILE],
    )
    row = run.compared(
        case,
        preview,
        sample(0, 0),
        variant=HOSTILE.replace("/", ""),
        reason=HOSTILE,
        environment={HOSTILE: {HOSTILE: HOSTILE}},
        tolerance=Tolerance(ssim_min=0.9, lpips_max=0.1, source=HOSTILE),
        seconds={HOSTILE: 1.0},
    )
    index = read_page(build_report(run.path))
    page = case_page_of(run)
    assert all(script.attributes.get("src") for script in page.all("script"))
    assert not any(name.startswith("on") for element in index.all() for name in element.attributes)
    assert not any(name.startswith("on") for element in page.all() for name in element.attributes)
    assert page.one("p", class_="reason").text.strip() == row.reason
    assert page.one("ul", class_="findings").all("bdi")[0].text == HOSTILE


@pytest.mark.parametrize("path", ["javascript:alert(1)", "images/no such.png"])
def test_images_outside_the_run_are_not_linked(run: Run, path: str) -> None:
    preview = sample(30, 0)
    run.bare(case_of(preview, "job/a"), preview, Verdict.ERROR, "failed", images=Images(preview=path))
    assert read_page(build_report(run.path)).all("img") == []
    page = case_page_of(run)
    assert page.all("img") == []
    assert path in page.one("p", class_="missing").words


def test_odd_characters_in_an_image_path_are_quoted(run: Run) -> None:
    folder = run.path / "images" / 'a b#c?d%20"é'
    folder.mkdir(parents=True)
    (folder / "preview.jpg").write_bytes(sample(30, 0).read_bytes())
    path = (folder / "preview.jpg").relative_to(run.path).as_posix()
    preview = sample(30, 0)
    run.bare(case_of(preview, "job/a"), preview, Verdict.ERROR, "failed", images=Images(preview=path))
    build_report(run.path)
    page = case_page_of(run)
    assert {image.attributes["src"] for image in page.all("img")} == {
        "../images/a%20b%23c%3Fd%2520%22%C3%A9/preview.jpg"
    }
