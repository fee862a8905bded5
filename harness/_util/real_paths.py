"""Where a path really leads."""

from __future__ import annotations

import os
from pathlib import Path


def real_path(path: Path | str) -> Path:
    """Return ``path`` absolute and without links; of links in a circle, the one at which it does not go on.

    ``Path.resolve`` raises a RuntimeError there, up to Python 3.12. What opens the path says what is wrong.
    """
    return Path(os.path.realpath(path))
