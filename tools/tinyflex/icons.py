"""The icon atlas: named icons of an icon package, rasterised once and kept as one compact file."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ICON_SIZE = 128
NOUNS_FILE = Path(__file__).with_name("nouns.txt")


@dataclass(frozen=True)
class Noun:
    """One word of the vocabulary: the icon's name in the package, the noun, its plural."""

    icon: str
    singular: str
    plural: str


@dataclass(frozen=True)
class Atlas:
    """Icons as premultiplied RGBA.

    Attributes:
        nouns: one per icon, in the atlas's order.
        pixels: N × 4 × 128 × 128, uint8, colour already multiplied by alpha.
        credit: name, author and licence of the package the icons came from.
    """

    nouns: tuple[Noun, ...]
    pixels: NDArray[np.uint8]
    credit: str


def read_nouns(file: Path = NOUNS_FILE) -> tuple[Noun, ...]:
    """Read the table ``icon singular [plural]``; the plural is the singular plus ``s`` unless it is given."""
    nouns = []
    for line in file.read_text(encoding="utf-8").splitlines():
        icon, singular, *plural = line.split()
        nouns.append(Noun(icon, singular, plural[0] if plural else f"{singular}s"))
    return tuple(nouns)


def rasterise(package: Path, nouns: tuple[Noun, ...] | None = None) -> Atlas:
    """Draw the nouns' icons from an Iconify package: a folder with ``icons.json`` and ``info.json``."""
    import resvg_py
    from PIL import Image

    nouns = read_nouns() if nouns is None else nouns
    collection = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    info = json.loads((package / "info.json").read_text(encoding="utf-8"))
    box = f"0 0 {collection.get('width', 32)} {collection.get('height', 32)}"
    layers = []
    for noun in nouns:
        body = collection["icons"][noun.icon]["body"]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'
        png = resvg_py.svg_to_bytes(svg_string=svg, width=ICON_SIZE, height=ICON_SIZE)
        rgba = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"), dtype=np.float32)
        alpha = rgba[..., 3:] / 255
        rgba = np.concatenate([rgba[..., :3] * alpha, rgba[..., 3:]], axis=2)
        layers.append(np.rint(rgba).astype(np.uint8).transpose(2, 0, 1))
    credit = f"{info['name']} by {info['author']['name']}, licence {info['license']['spdx']}"
    return Atlas(nouns, np.stack(layers), credit)


def save_atlas(atlas: Atlas, file: Path) -> None:
    """Write the atlas as one compressed npz."""
    file.parent.mkdir(parents=True, exist_ok=True)
    words = np.array([[n.icon, n.singular, n.plural] for n in atlas.nouns])
    np.savez_compressed(file, nouns=words, pixels=atlas.pixels, credit=np.array(atlas.credit))


def load_atlas(file: Path) -> Atlas:
    """Read an atlas that :func:`save_atlas` wrote."""
    with np.load(file) as data:
        nouns = tuple(Noun(*(str(word) for word in row)) for row in data["nouns"])
        return Atlas(nouns, data["pixels"], str(data["credit"]))
