"""A row's images as figures: where they lie, how large they are shown, what their colours mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from harness.metrics.maps import SCALES, Scale
from harness.report.formatting import size
from harness.report.measures import FORMATS
from harness.schema.result import Row

ENLARGED_EDGE = 320
"""Images no larger than this are enlarged by the largest whole factor that keeps to it, CSS pixels."""

REDUCED_EDGE = 256
"""Longest edge of larger images, CSS pixels: five stand side by side on a laptop."""

LEGEND_STEPS = 24

Link = Callable[[str], str]
"""Turns the path of an image, relative to the run folder, into an address."""


@dataclass(frozen=True)
class Legend:
    """A map's fixed scale: SVG rectangles 1 wide from equal to different, with the values at both ends."""

    label: str
    colours: Markup
    dark: str
    bright: str


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
        width: shown width, CSS pixels.
        height: shown height, CSS pixels.
        natural: the image's own size in words.
        magnified: by which whole factor it is shown larger, 1 if not; with pixels as squares.
        box: the tile to mark.
    """

    name: str
    title: str
    href: str | None
    path: str
    alt: str
    width: int
    height: int
    natural: str
    pixels: Box
    magnified: int
    pixelated: bool
    note: str = ""
    legend: Legend | None = None
    box: Box | None = None


def beside(path: str) -> str:
    """Return the address of a file of the run, seen from a page in a folder of the run."""
    return f"../{quote(path)}"


def pictures(folder: Path, row: Row, link: Link) -> tuple[Picture, ...]:
    """Return preview, re-run and maps of a row, in reading order; only those that the row has.

    Args:
        link: turns the path of an image in ``folder`` into the address that the page uses.
    """
    preview, case = (row.description.preview.width, row.description.preview.height), row.case
    kind = FORMATS.get(PurePosixPath(row.images.preview).suffix.lower(), "")
    tile = _worst_tile(row)
    shown = [
        _picture(
            folder,
            link,
            "preview",
            "Preview",
            row.images.preview,
            preview,
            f"Preview of {case}",
            note=kind,
            box=tile,
        )
    ]
    if row.images.rerun is not None:
        rendered = (row.rendered.width, row.rendered.height) if row.rendered else preview
        box = tile if rendered == preview else None
        alt = f"Re-run of {case}"
        shown.append(
            _picture(
                folder, link, "rerun", "Re-run", row.images.rerun, rendered, alt, note="as rendered", box=box
            )
        )
    for name, title in (("difference", "Difference"), ("ssim", "SSIM map"), ("lpips", "LPIPS map")):
        if name in row.images.maps:
            legend = LEGENDS[name]
            alt = f"{title} of {case}: {legend.label}, dark is equal"
            path = row.images.maps[name]
            shown.append(_picture(folder, link, name, title, path, preview, alt, legend=legend, box=tile))
    return tuple(shown)


def _picture(
    folder: Path,
    link: Link,
    name: str,
    title: str,
    path: str,
    natural: tuple[int, int],
    alt: str,
    *,
    note: str = "",
    legend: Legend | None = None,
    box: Box | None = None,
) -> Picture:
    width, height = natural
    whole = ENLARGED_EDGE // max(natural)
    factor = whole or REDUCED_EDGE / max(natural)
    return Picture(
        name=name,
        title=title,
        href=link(path) if is_inside(folder, path) else None,
        path=path,
        alt=alt,
        width=round(width * factor),
        height=round(height * factor),
        natural=size(width, height),
        pixels=Box(0, 0, width, height),
        magnified=max(1, whole),
        pixelated=whole > 0,
        note=note,
        legend=legend,
        box=box,
    )


def is_inside(folder: Path, path: str) -> bool:
    """Whether ``path`` names a file of the run: a report never shows files from elsewhere."""
    target = (folder / path).resolve()
    return target.is_relative_to(_resolved(folder)) and target.is_file()


@functools.cache
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _worst_tile(row: Row) -> Box | None:
    if row.pixels is None or row.pixels.identical:
        return None
    tile, preview = row.pixels.worst_tile, row.description.preview
    return Box(
        tile.x, tile.y, min(tile.size, preview.width - tile.x), min(tile.size, preview.height - tile.y)
    )


def _legend(scale: Scale) -> Legend:
    strip = scale.paint(np.linspace(scale.dark, scale.bright, LEGEND_STEPS)[np.newaxis, :])[0]
    beyond = "≥" if scale.bright > scale.dark else "≤"
    return Legend(
        label=scale.label,
        colours=Markup("").join(
            Markup('<rect x="{}" width="1.05" height="1" fill="#{:02x}{:02x}{:02x}"/>').format(at, *colour)
            for at, colour in enumerate(strip.tolist())
        ),
        dark=f"{scale.dark:g}",
        bright=f"{beyond} {scale.bright:g}",
    )


LEGENDS = {name: _legend(scale) for name, scale in SCALES.items()}
"""The legend of each map by name."""
