"""A page for inference images beside their preview: pictures, settings, ladder, what to change. One file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from harness._util.atomic_files import write_json, write_text
from harness.comparison.compare import Comparison
from harness.comparison.ladder import Pixels
from harness.comparison.setting_row import State
from harness.comparison.wording import verdicts
from harness.errors import RunError
from harness.metrics.images import encode, load_rgb
from harness.metrics.maps import SCALES, difference_map
from harness.report.comparisons import FOLDER
from harness.report.formatting import slug
from harness.report.measures import FORMATS
from harness.report.media import data_address, file_address
from harness.report.page import inlined_page, render
from harness.report.pictures import Picture
from harness.runs.folder import refuse_links
from harness.runs.run_files import read_manifest, read_rows
from harness.schema.case import Case

MEANINGS = {
    State.SAME: "the same",
    State.DIFFERS: "differs",
    State.TOOL: "the tool's own way",
    State.UNKNOWN: "not known",
}


@dataclass(frozen=True)
class ComparisonView:
    """What the page shows of one image.

    Attributes:
        pictures: preview, inference image and the map of their difference, for the viewer.
        renders: where it was rendered, the image's own settings and the re-run of the preview.
        said: what was found, in sentences.
    """

    found: Comparison
    pictures: tuple[Picture, ...]
    renders: tuple[Picture, ...]
    said: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        """Whether preview and inference image have one size."""
        return len({each.size for each in self.pictures}) == 1


def write_comparison_page(
    found: Sequence[Comparison], out: str | os.PathLike[str], case_page: str = ""
) -> Path:
    """Write one HTML file that shows comparisons, with all pictures inside; return it.

    Args:
        case_page: address of the case's page, seen from ``out``; empty where there is none.
    """
    out = Path(out)
    views = [_view(each) for each in found]
    page = inlined_page("comparison")
    html = render("comparison.html", views=views, meanings=MEANINGS, page=page, case_page=case_page)
    write_text(out, html)
    return out


def store_comparisons(found: Sequence[Comparison], run: Path) -> list[Path]:
    """Write page and JSON of each comparison into a run folder; return the pages.

    Of images with one name, from several folders, the later ones are numbered.

    Raises:
        RunError: not a run folder, or one without a row of the case.
    """
    refuse_other_run([each.case for each in found], run)
    (run / FOLDER).mkdir(exist_ok=True)
    named = Counter[str]()
    pages = []
    for each in found:
        name = slug(f"{each.case.id}/{each.image.path.name}")
        named[name] += 1
        page = run / FOLDER / (f"{name}.html" if named[name] == 1 else f"{name}-{named[name]}.html")
        write_json(page.with_suffix(".json"), each.to_json())
        pages.append(write_comparison_page([each], page, case_page=f"../cases/{slug(each.case.id)}.html"))
    return pages


def refuse_other_run(cases: Sequence[Case], run: Path) -> None:
    """Refuse a folder that is no run of ``cases``.

    Raises:
        RunError: as ``store_comparisons``.
    """
    read_manifest(run)
    refuse_links(run)
    known = {row.case for row in read_rows(run)}
    for case in cases:
        if case.id not in known:
            raise RunError(
                f"holds no row of case {case.id!r}", file=run, fix="name the folder of a run with it"
            )


def _view(found: Comparison) -> ComparisonView:
    preview, image = load_rgb(found.case.preview_path), load_rgb(found.image.path)
    shown = [
        _file("preview", "Preview", found.case.preview_path, preview),
        _file("rerun", "Inference image", found.image.path, image),
    ]
    if preview.shape == image.shape:
        map_ = _array("difference", "Difference", difference_map(preview, image))
        shown.append(replace(map_, scale=SCALES["difference"], alt="Difference, dark is equal"))
    renders: list[Picture] = []
    if found.proof is not None:
        renders = [
            _array("own", "Its settings, rendered here", found.proof.image),
            _array("reference", "Re-run of the preview", found.proof.reference),
        ]
    return ComparisonView(found, tuple(shown), tuple(renders), tuple(verdicts(found)))


def _file(name: str, title: str, path: Path, pixels: Pixels) -> Picture:
    kind = FORMATS.get(path.suffix.lower(), "image")
    size = (pixels.shape[1], pixels.shape[0])
    return Picture(name, title, file_address(path), path.name, title, size, note=kind)


def _array(name: str, title: str, pixels: Pixels) -> Picture:
    href = data_address("image/png", encode(Image.fromarray(pixels), "PNG"))
    return Picture(name, title, href, "", title, (pixels.shape[1], pixels.shape[0]))
