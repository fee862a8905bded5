"""What surrounds a page's content: scripts, styles, content policy, addresses; as files or inlined."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report.formatting import moment, number, percent, plain, seconds, slug
from harness.report.measures import codec_sentence, measures
from harness.report.overview import headline, shown_variant
from harness.report.replay import recipe
from harness.report.review import refusal
from harness.report.settings_table import (
    assumptions,
    baseline_environment,
    baseline_facts,
    provenance,
    settings,
)
from harness.report.sigma_chart import curve

HERE = Path(__file__).parent
ASSETS = HERE / "assets"
STYLE = "report.css"
SHARED_SCRIPTS = ("keys.js", "filters.js", "review.js")
OVERVIEW_SCRIPTS = (*SHARED_SCRIPTS, "overview.js")
CASE_SCRIPTS = (*SHARED_SCRIPTS, "view.js", "stage.js", "pixels.js", "viewer.js", "case.js")
SWEEP_SCRIPTS = ("keys.js", "sweep.js")
SINGLE_SCRIPTS = (*CASE_SCRIPTS, "sweep.js", "overview.js", "single.js")
"""Scripts in the order in which they run. They are classic ones: browsers refuse modules from the disk."""

FILES_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'self' file:; script-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)

FILTERS: tuple[Callable[..., Any], ...] = (
    *(moment, number, percent, plain, seconds, slug),
    *(measures, codec_sentence, settings, provenance, assumptions, curve, recipe),
    *(baseline_facts, baseline_environment, refusal, headline, shown_variant),
)
"""What templates can ask for by its name: ``{{ 0.25 | percent }}``, ``{% for line in row | settings %}``."""

MEANINGS = {
    "match": "Bit-identical, or within every limit.",
    "drift": "Past at least one limit.",
    "regression": "Worse than its baseline.",
    "incomparable": "Cannot be re-run or compared; the reason is given. Never counted as a match.",
    "error": "The render failed.",
}


@dataclass(frozen=True)
class Part:
    """A script or a style: an address, or its text inlined."""

    href: str | None = None
    inline: Markup | None = None


@dataclass(frozen=True)
class Link:
    """A link to a file beside the report."""

    href: str
    text: str


@dataclass(frozen=True)
class Page:
    """Everything around a page's content.

    Attributes:
        kind: ``overview``, ``case``, ``sweep``, ``diagnosis``, ``history`` or ``single``; scripts read it.
        thumbs: address of the thumbnail by slug.
        to_case: turns a slug into the address of its case.
    """

    kind: str
    policy: str
    styles: tuple[Part, ...]
    scripts: tuple[Part, ...]
    thumbs: Mapping[str, str | None] = field(default_factory=dict)
    to_case: Callable[[str], str] = "#{}".format
    to_overview: str = "#"
    links: tuple[Link, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=lambda: MEANINGS)


def overview_page(thumbs: Mapping[str, str | None], links: tuple[Link, ...]) -> Page:
    """Return the surroundings of ``index.html``."""
    scripts = ("cases/rows.js", *(f"assets/{name}" for name in OVERVIEW_SCRIPTS))
    return _files_page(
        "overview", "assets", scripts, thumbs=thumbs, to_case="cases/{}.html".format, links=links
    )


def case_page(slug: str, *, has_pixels: bool) -> Page:
    """Return the surroundings of one case's page."""
    data = ("rows.js", f"{slug}.js") if has_pixels else ("rows.js",)
    return page_beside("case", data, CASE_SCRIPTS)


def sweep_page() -> Page:
    """Return the surroundings of one case's sweep."""
    return page_beside("sweep", (), SWEEP_SCRIPTS)


def page_beside(kind: str, data: tuple[str, ...] = (), scripts: tuple[str, ...] = ()) -> Page:
    """Return the surroundings of a page in the folder of cases."""
    addresses = (*data, *(f"../assets/{name}" for name in scripts))
    return _files_page(kind, "../assets", addresses, to_case="{}.html".format, to_overview="../index.html")


def _files_page(kind: str, assets: str, scripts: tuple[str, ...], **more: Any) -> Page:
    return Page(kind, FILES_POLICY, (Part(f"{assets}/{STYLE}"),), tuple(map(Part, scripts)), **more)


def history_page() -> Page:
    """Return the surroundings of the history: one file, because no run's assets are its own."""
    return _inlined_page("history", ())


def comparison_page() -> Page:
    """Return the surroundings of a comparison: one file, which lies wherever its user wants it."""
    return _inlined_page("comparison", ())


def single_page(thumbs: Mapping[str, str | None], rows: str) -> Page:
    """Return the surroundings of the single file: everything inlined, and only that allowed to run.

    Args:
        rows: the text of ``rows.js``.
    """
    return _inlined_page("single", (rows, *map(_asset, SINGLE_SCRIPTS)), thumbs)


def _inlined_page(
    kind: str, scripts: tuple[str, ...], thumbs: Mapping[str, str | None] | None = None
) -> Page:
    style = _asset(STYLE)
    allowed = f"script-src {' '.join(map(_hash, scripts))}; " if scripts else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; {allowed}"
        "base-uri 'none'; form-action 'none'"
    )
    styles = (Part(inline=Markup(style)),)
    return Page(kind, policy, styles, tuple(Part(inline=Markup(each)) for each in scripts), thumbs or {})


@functools.cache
def templates() -> Environment:
    """Return the templates; every text that they show is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {each.__name__: each for each in FILTERS}
    return environment


def render(template: str, **content: Any) -> str:
    """Return a page as HTML."""
    return templates().get_template(template).render(**content)


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
