"""The page over all runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.report.build import build_report
from harness.report.history_page import build_history
from harness.schema.result import Verdict
from tests.report.report_page import Element, read_page
from tests.report.report_runs import ENVIRONMENT, Run, case_of, sample, scores_of

SSIM = [0.9930, 0.9931, 0.9930, None, 0.9931, 0.9500, 0.9501, 0.9500]
STEP = 5


@pytest.fixture
def page(make_run: Callable[[str], Run], tmp_path: Path) -> Element:
    """Eight nights: one that failed, and a step when torch changed."""
    preview, rerun = sample(30, 0), sample(20, 0)
    for night, ssim in enumerate(SSIM):
        run = make_run(f"night-{night}")
        run.path.joinpath("run.json").write_text(
            f'{{"identity": {{}}, "created": "2026-11-{night + 1:02}T02:00:00+00:00"}}'
        )
        packages = {"torch": "2.14.1" if night < STEP else "2.15.0", "diffusers": "0.42.1"}
        for name in ("job/moved", "job/held"):
            case = case_of(preview, name)
            value = ssim if "moved" in name or ssim is None else 0.9930
            if value is None:
                run.bare(case, preview, Verdict.ERROR, "out of memory")
                continue
            scores = scores_of(preview, rerun, ssim=value, lpips=0.001)
            run.compared(
                case, preview, rerun, scores=scores, environment={**ENVIRONMENT, "packages": packages}
            )
        build_report(run.path)
    return read_page(build_history(tmp_path))


def test_what_moved_comes_first_with_its_step_marked(page: Element) -> None:
    moved, held = page.all("section")
    assert "job/moved" in moved.words
    assert "SSIM stepped from 0.9931 to 0.9500 at night-5" in moved.words
    assert len(moved.all("line", class_="step")) == 1
    assert held.all("line", class_="step") == []
    assert page.one("p", class_="summary").words == "1 of 2 series has a finding."


def test_hovering_tells_what_changed_in_the_environment(page: Element) -> None:
    moved = page.all("section")[0]
    titles = [run.one("title").text for run in moved.all("g", class_="run")]
    assert titles[3].endswith("error, SSIM –, LPIPS –")
    assert titles[5].endswith("SSIM 0.9500, LPIPS 0.0010; changed: packages.torch 2.14.1 → 2.15.0")
    assert "changed" not in titles[1]
    (step,) = moved.all("p", class_="note")
    assert step.words == "night-5, 2026-11-06 02:00 UTC: packages.torch 2.14.1 → 2.15.0"


def test_a_run_without_a_score_breaks_the_line(page: Element) -> None:
    assert len(page.all("section")[0].all("polyline")) == 5


def test_every_run_leads_to_its_case(page: Element, tmp_path: Path) -> None:
    links = [link.attributes["href"] or "" for link in page.one("main").all("a")]
    assert len(links) == 2 * len(SSIM)
    assert all((tmp_path / link).is_file() for link in links)


def test_the_index_leads_to_every_run_the_latest_first(page: Element, tmp_path: Path) -> None:
    table = page.one("table", class_="runs")
    heads = [cell.words for cell in table.one("thead").all("th")]
    assert heads == ["Run", "When", "error", "regression", "drift", "incomparable", "match"]
    lines = [[cell.words for cell in row.all("th") + row.all("td")] for row in table.one("tbody").all("tr")]
    assert [line[0] for line in lines] == [f"night-{night}" for night in reversed(range(len(SSIM)))]
    assert lines[0][2:] == ["0", "0", "1", "0", "1"]
    assert lines[4][2:] == ["2", "0", "0", "0", "0"]
    assert all((tmp_path / str(link.attributes["href"])).is_file() for link in table.all("a"))


def test_a_run_without_a_report_is_not_linked(make_run: Callable[[str], Run], tmp_path: Path) -> None:
    make_run("bare").compared(case_of(sample(30, 0), "job/a"), sample(30, 0), sample(20, 0))
    page = read_page(build_history(tmp_path))
    table = page.one("table", class_="runs")
    assert "bare" in table.words
    assert "one run, nothing to compare it with" in page.one("section").words
    assert table.all("a") == []


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run folder"):
        build_history(tmp_path)
