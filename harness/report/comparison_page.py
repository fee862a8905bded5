"""A page for inference images beside their preview: pictures, settings, ladder, what to change. One file."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from harness._util.atomic_files import write_text
from harness.comparison.compare import Comparison
from harness.comparison.ladder import Pixels, Rung
from harness.comparison.sentences import verdicts
from harness.comparison.setting_row import State
from harness.metrics.images import encode
from harness.report.media import data_address
from harness.report.page import inlined_page, render

MEANINGS = {
    State.SAME: "the same",
    State.DIFFERS: "differs",
    State.TOOL: "the tool's own way",
    State.UNKNOWN: "not known",
}


@dataclass(frozen=True)
class Shown:
    """One picture: what it is, and its address, which holds it."""

    name: str
    href: str


@dataclass(frozen=True)
class ComparisonView:
    """What the page shows of one image.

    Attributes:
        pictures: preview, inference image and, where they were rendered, its own settings and the re-run.
        said: what was found, in sentences.
    """

    found: Comparison
    pictures: tuple[Shown, ...]
    said: tuple[str, ...]

    @property
    def rungs(self) -> list[Rung]:
        """The ladder; empty where nothing was rendered."""
        return self.found.proof.rungs if self.found.proof else []


def write_comparison_page(found: Sequence[Comparison], out: Path) -> Path:
    """Write one HTML file that shows comparisons, with all pictures inside; return it."""
    views = [_view(each) for each in found]
    html = render("comparison.html", views=views, meanings=MEANINGS, page=inlined_page("comparison"))
    write_text(out, html)
    return out


def _view(found: Comparison) -> ComparisonView:
    pictures = [
        Shown("Preview", _file(found.case.preview_path)),
        Shown("Inference image", _file(found.image.path)),
    ]
    if found.proof is not None:
        pictures += [
            Shown("Its settings, rendered here", _array(found.proof.image)),
            Shown("Re-run of the preview", _array(found.proof.reference)),
        ]
    return ComparisonView(found, tuple(pictures), tuple(verdicts(found)))


def _file(path: Path) -> str:
    return data_address(mimetypes.guess_type(path)[0] or "image/png", path.read_bytes())


def _array(image: Pixels) -> str:
    return data_address("image/png", encode(Image.fromarray(image), "PNG"))
