"""Text from outside is shown as text, and never becomes part of the page."""

from __future__ import annotations

import pytest
from report_page import read_page
from report_runs import Run, case_of, sample

from harness.case import SampleSettings, Tolerance, Trained
from harness.report.build import build_report
from harness.runs.row import Images, Verdict

HOSTILE = (
    "</p></article><script>alert(1)</script><img src=x onerror=alert(2)>"
    " \"quoted\" 'single' &amp; {{ 7 * 7 }} {% raw %} --> ]]> \u202eright to left\u202c שלום مرحبا"
)


@pytest.mark.parametrize("prompt", [HOSTILE, "flower <b>" * 1000, "line\nbreak\n\n  indented", ""])
def test_prompts(run: Run, prompt: str) -> None:
    preview = sample(30, 0)
    settings = SampleSettings(prompt=prompt, width=128, height=128, sample_steps=4)
    run.compared(case_of(preview, "job/a", settings=settings), preview, sample(0, 0))
    page = read_page(build_report(run.path))
    assert page.one("section", class_="prompt").one("p").text == prompt
    assert [script.attributes.get("src") for script in page.all("script")] == ["assets/report.js"]
    assert len(page.all("article")) == 1


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
    page = read_page(build_report(run.path))
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for element in page.all() for name in element.attributes)
    assert page.one("span", class_="reason").text.strip() == row.reason
    assert page.one("ul", class_="findings").all("bdi")[0].text == HOSTILE


@pytest.mark.parametrize(
    "path", ["../secret.png", "javascript:alert(1)", "//host/a.png", "images/no such.png"]
)
def test_images_outside_the_run_are_not_linked(run: Run, path: str) -> None:
    (run.path.parent / "secret.png").write_bytes(b"not for the report")
    preview = sample(30, 0)
    run.bare(case_of(preview, "job/a"), preview, Verdict.ERROR, "failed", images=Images(preview=path))
    page = read_page(build_report(run.path))
    assert page.all("img") == []
    assert path in page.one("p", class_="missing").words


def test_odd_characters_in_an_image_path_are_quoted(run: Run) -> None:
    folder = run.path / "images" / 'a b#c?d%20"é'
    folder.mkdir(parents=True)
    (folder / "preview.jpg").write_bytes(sample(30, 0).read_bytes())
    path = (folder / "preview.jpg").relative_to(run.path).as_posix()
    preview = sample(30, 0)
    run.bare(case_of(preview, "job/a"), preview, Verdict.ERROR, "failed", images=Images(preview=path))
    page = read_page(build_report(run.path))
    assert {image.attributes["src"] for image in page.all("img")} == {
        "images/a%20b%23c%3Fd%2520%22%C3%A9/preview.jpg"
    }
