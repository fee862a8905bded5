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

from harness.report.case_view import recipe
from harness.report.formatting import moment, number, percent, plain, seconds, slug
from harness.report.measures import codec_sentence, measures
from harness.report.overview import headline, shown_variant
from harness.report.pictures import swatches
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
VIEWER_SCRIPTS = ("view.js", "stage.js", "pixels.js", "viewer.js")
CASE_SCRIPTS = (*SHARED_SCRIPTS, *VIEWER_SCRIPTS, "case.js")
SCRIPTS = {
    "overview": (*SHARED_SCRIPTS, "overview.js"),
    "case": CASE_SCRIPTS,
    "sweep": ("keys.js", "sweep.js"),
    "diagnosis": (),
    "comparison": ("keys.js", "filters.js", *VIEWER_SCRIPTS, "comparison.js"),
    "history": (),
    "audit": (),
    "single": (*CASE_SCRIPTS, "sweep.js", "overview.js", "single.js"),
}
"""Scripts of each kind of page in the order in which they run. They are classic ones: browsers refuse modules
from the disk."""

FILES_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'self' file:; script-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)

FILTERS: tuple[Callable[..., Any], ...] = (
    *(moment, number, percent, plain, seconds, slug),
    *(measures, codec_sentence, settings, provenance, assumptions, curve, recipe),
    *(baseline_facts, baseline_environment, refusal, headline, shown_variant, swatches),
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
        kind: a key of ``SCRIPTS``; scripts read it from the page.
        thumbs: address of the thumbnail by slug.
        to_case: turns a slug into the address of its case.
        left_out: what of the run could not be read, a line each.
    """

    kind: str
    policy: str
    style: Part
    scripts: tuple[Part, ...]
    thumbs: Mapping[str, str | None] = field(default_factory=dict)
    to_case: Callable[[str], str] = "#{}".format
    to_overview: str = "#"
    links: tuple[Link, ...] = ()
    left_out: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=lambda: MEANINGS)


def linked_page(kind: str, *data: str, **more: Any) -> Page:
    """Return the surroundings of a page beside the report's other files: the overview, or one in ``cases``.

    Args:
        data: addresses of scripts that hold data, seen from the page.
        more: further fields of ``Page``.
    """
    root, cases = ("", "cases/") if kind == "overview" else ("../", "")
    scripts = (*data, *(f"{root}assets/{name}" for name in SCRIPTS[kind]))
    return Page(
        kind,
        FILES_POLICY,
        Part(f"{root}assets/{STYLE}"),
        tuple(map(Part, scripts)),
        to_case=f"{cases}{{}}.html".format,
        to_overview=f"{root}index.html",
        **more,
    )


def inlined_page(kind: str, *data: str, **more: Any) -> Page:
    """Return the surroundings of a page that is one file: everything inlined, and only that allowed to run.

    Args:
        data: text of scripts that hold data.
        more: further fields of ``Page``.
    """
    style, scripts = _asset(STYLE), (*data, *map(_asset, SCRIPTS[kind]))
    allowed = f"script-src {' '.join(map(_hash, scripts))}; " if scripts else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; {allowed}"
        "base-uri 'none'; form-action 'none'"
    )
    inlined = tuple(Part(inline=Markup(text)) for text in (style, *scripts))
    return Page(kind, policy, inlined[0], inlined[1:], **more)


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
