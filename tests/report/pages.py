"""What a built report holds, read back."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.build import build_report
from tests.report.report_page import Element, read_page
from tests.report.report_runs import Run


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
