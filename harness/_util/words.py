"""Lists of names, counts and sizes in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from harness._util.redaction import printable


def some(names: Iterable[object], limit: int = 3, joint: str = ", ") -> str:
    """Return the first ``limit`` names in order, each on one line, and how many more there are."""
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return joint.join(map(printable, ordered[:limit])) + more


def size_text(size: tuple[int, int]) -> str:
    """Return a width and a height as ``1024×768``."""
    return f"{size[0]}×{size[1]}"


def counts_in_words(counts: Mapping[Any, int], order: Iterable[str]) -> str:
    """Return what was counted in the given order, ``3 match, 1 drift``; nothing of what there is none of."""
    return ", ".join(f"{counts[name]} {name}" for name in order if counts[name])


def id_hint(given: str, ids: Collection[str]) -> str:
    """Return what to type for an id that is not among ``ids``: the one that ends so, or one of them."""
    if not ids:
        return "there is no case at all"
    name = PurePath(given).name.partition(".")[0]
    near = sorted(each for each in ids if each.rpartition("/")[2] == name)
    return f"did you mean {near[0]!r}?" if near else f"ids look like {min(ids)!r}"


def is_utf_8(text: str) -> bool:
    """Say whether ``text`` can be written as UTF-8; bytes of another encoding, typed as an option, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
