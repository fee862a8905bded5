"""A case under several variants."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from harness.report.build import build_report
from harness.report.sweep_page import sweep_slug
from tests.report.report_page import Element, read_page
from tests.report.report_runs import Run, case_of, rendered_of, sample, scores_of

SSIM = {
    "reference": 0.80,
    "scheduler=UniPC,shift=3": 0.90,
    "scheduler=UniPC,shift=10": 0.97,
    "scheduler=DEIS,shift=3": 0.50,
    "scheduler=DEIS,shift=10": 0.60,
    "scheduler=DEIS": 0.80,
}


@pytest.fixture(params=["folder", "single"])
def page(run: Run, request: pytest.FixtureRequest) -> Element:
    """The sweep of a case, on a page of its own and inside the single file."""
    preview, rerun = sample(30, 0), sample(0, 0)
    case = case_of(preview, "job/a")
    for variant, ssim in SSIM.items():
        sigmas = [1.0, ssim / 2, 0.0]
        same = variant in {"reference", "scheduler=DEIS"}
        run.compared(
            case, preview, rerun,
            variant=variant,
            scores=scores_of(preview, rerun, ssim=ssim, lpips=0.01),
            rendered=rendered_of(case, sigmas=sigmas, sigmas_sha256=f"{ssim}".ljust(64, "0")),
            image_sha256=("same" if same else variant).ljust(64, "0"),
        )  # fmt: skip
    run.compared(case_of(preview, "job/alone"), preview, rerun)
    build_report(run.path)
    if request.param == "folder":
        return read_page(run.path / "cases" / f"{sweep_slug('job/a')}.html").one("article")
    page = read_page(build_report(run.path, single_file=True))
    return page.one("template", id=sweep_slug("job/a")).one("article")


def test_nearest_first_and_equal_renders_once(page: Element) -> None:
    prints = page.one("ol", class_="sheet").all("li")
    names = [each.one("a").words for each in prints[1:]]
    assert prints[0].words == "Preview"
    assert names == sorted(set(SSIM) - {"scheduler=DEIS"}, key=lambda name: -SSIM[name])
    (best,) = [each for each in prints if "best" in (each.attributes.get("class") or "").split()]
    assert best.one("a").words == "scheduler=UniPC,shift=10"
    (merged,) = [each for each in prints if "Same pixels" in each.words]
    assert merged.one("a").words == "reference"
    assert merged.words.endswith("Same pixels: scheduler=DEIS")
    assert "6 variants, 5 different renders" in page.one("p", class_="reason").words


def test_the_heat_map_has_an_axis_each_way(page: Element) -> None:
    table = page.one("table", class_="heat")
    lines = [[cell.words for cell in row.all("th") + row.all("td")] for row in table.all("tr")]
    assert sorted(lines[0][1:]) in (["10", "3"], ["DEIS", "UniPC"])
    values = {cell.one("a").words for cell in table.all("td")}
    assert values == {"0.9000", "0.9700", "0.5000", "0.6000"}
    (best,) = table.all("td", class_="best")
    assert best.words == "0.9700 best"
    assert "heat-9" in (best.attributes["class"] or "")


def test_the_schedules_stand_in_one_chart(page: Element) -> None:
    chart = page.one("svg", class_="chart")
    assert len(chart.all("polyline")) == len(set(SSIM.values()))
    assert chart.all("polyline")[-1].one("title").words == "scheduler=UniPC,shift=10"
    assert "Half-way: scheduler=UniPC,shift=10 0.485" in (chart.attributes["aria-label"] or "")


def test_every_print_leads_to_its_comparison(page: Element, run: Run) -> None:
    for link in page.one("ol", class_="sheet").all("a"):
        file = (link.attributes["href"] or "").removeprefix("#").removesuffix(".html") + ".html"
        assert (run.path / "cases" / file).is_file()
    assert not (run.path / "cases" / f"{sweep_slug('job/alone')}.html").exists()
    index = read_page(run.path / "index.html")
    assert [link.words for link in index.one("header").one("details").all("a")] == ["job/a"]


def test_one_axis_makes_no_heat_map(run: Run, tmp_path: Path) -> None:
    preview, rerun = sample(30, 0), sample(0, 0)
    for variant in ("reference", "shift=3", "shift=5"):
        run.compared(case_of(preview, "job/a"), preview, rerun, variant=variant)
    build_report(run.path)
    page = read_page(run.path / "cases" / f"{sweep_slug('job/a')}.html")
    assert page.all("table") == []
    assert page.all("svg", class_="chart") == [], "all three have the same sigmas"


def test_three_axes_make_a_map_of_every_two(run: Run) -> None:
    preview, rerun = sample(30, 0), sample(0, 0)
    for steps, shift, guidance in product((4, 8, 12), (1, 3), (2, 4)):
        run.compared(
            case_of(preview, "job/a"), preview, rerun,
            variant=f"steps={steps},shift={shift},guidance={guidance}",
            scores=scores_of(preview, rerun, ssim=0.9 + steps / 1000 + shift / 10000, lpips=0.01),
            image_sha256=f"{steps}{shift}{guidance}".ljust(64, "0"),
        )  # fmt: skip
    build_report(run.path)
    page = read_page(run.path / "cases" / f"{sweep_slug('job/a')}.html")
    shapes = [(len(table.all("tr")) - 1, len(table.all("td"))) for table in page.all("table", class_="heat")]
    assert shapes == [(2, 6), (2, 6), (2, 4)]
