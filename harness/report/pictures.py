"""A row's images as figures: address, shown size, and what the colours mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from harness._util.real_paths import real_path
from harness.metrics.maps import SCALES, Scale
from harness.report.measures import FORMATS
from harness.schema.result import Row

ENLARGED_EDGE = 320
"""Images no larger than this are enlarged by the largest whole factor that keeps to it, CSS pixels."""

REDUCED_EDGE = 256
"""Longest edge of larger images, CSS pixels: five fit side by side on a laptop."""

LEGEND_STEPS = 24

Link = Callable[[str], str]
"""Turns the path of an image, relative to the run folder, into an address."""


@dataclass(frozen=True)
class Box:
    """A rectangle in image pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: ``preview``, ``rerun``, ``difference``, ``ssim`` or ``lpips``.
        href: its address; None where the file is not in the run folder.
        path: the path as the row gives it.
        size: the image's own width and height, pixels.
        scale: what a map's colours mean.
        box: the tile to mark.
    """

    name: str
    title: str
    href: str | None
    path: str
    alt: str
    size: tuple[int, int]
    note: str = ""
    scale: Scale | None = None
    box: Box | None = None

    @property
    def pixelated(self) -> bool:
        """Whether it is enlarged, with pixels as squares."""
        return max(self.size) <= ENLARGED_EDGE

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height on the page, CSS pixels."""
        factor = ENLARGED_EDGE // max(self.size) or REDUCED_EDGE / max(self.size)
        width, height = self.size
        return round(width * factor), round(height * factor)


def beside(path: str) -> str:
    """Return the address of a file of the run, seen from a page in a folder of the run."""
    return f"../{quote(path)}"


def pictures(folder: Path, row: Row, link: Link) -> tuple[Picture, ...]:
    """Return preview, re-run and maps of a row, in reading order; only those that the row has.

    Args:
        link: turns the path of an image in ``folder`` into the address that the page uses.
    """
    images, case = row.images, row.case
    preview = row.description.preview.size
    tile = _worst_tile(row)

    def figure(name: str, title: str, path: str, alt: str, size: tuple[int, int] = preview) -> Picture:
        href = link(path) if is_inside(folder, path) else None
        return Picture(name, title, href, path, alt, size, box=tile if size == preview else None)

    kind = FORMATS.get(PurePosixPath(images.preview).suffix.lower(), "")
    shown = [replace(figure("preview", "Preview", images.preview, f"Preview of {case}"), note=kind)]
    if images.rerun is not None:
        rendered = (row.rendered.width, row.rendered.height) if row.rendered else preview
        rerun = figure("rerun", "Re-run", images.rerun, f"Re-run of {case}", rendered)
        shown.append(replace(rerun, note="as rendered"))
    for name, title in (("difference", "Difference"), ("ssim", "SSIM map"), ("lpips", "LPIPS map")):
        if name in images.maps:
            alt = f"{title} of {case}: {SCALES[name].label}, dark is equal"
            shown.append(replace(figure(name, title, images.maps[name], alt), scale=SCALES[name]))
    return tuple(shown)


def is_inside(folder: Path, path: str) -> bool:
    """Whether ``path`` names a file of the run: a report never shows files from elsewhere."""
    target = real_path(folder / path)
    return target.is_relative_to(_resolved(folder)) and target.is_file()


@functools.cache
def _resolved(folder: Path) -> Path:
    return real_path(folder)


def _worst_tile(row: Row) -> Box | None:
    if row.pixels is None or row.pixels.identical:
        return None
    tile, preview = row.pixels.worst_tile, row.description.preview
    return Box(
        tile.x, tile.y, min(tile.size, preview.width - tile.x), min(tile.size, preview.height - tile.y)
    )


@functools.cache
def swatches(scale: Scale) -> Markup:
    """Return a map's colours from equal to different as SVG rectangles, 1 wide each."""
    strip = scale.paint(np.linspace(scale.dark, scale.bright, LEGEND_STEPS)[np.newaxis, :])[0]
    return Markup("").join(
        Markup('<rect x="{}" width="1.05" height="1" fill="#{:02x}{:02x}{:02x}"/>').format(at, *colour)
        for at, colour in enumerate(strip.tolist())
    )
