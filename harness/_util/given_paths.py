"""Paths as a caller of the public functions gives them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def path_list(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return paths as a list; a single one, which is no list of letters, as a list of itself."""
    return [Path(each) for each in ([given] if isinstance(given, str | os.PathLike) else given)]
