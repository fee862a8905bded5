"""Which distributions offer which packages, without a look at every installed file.

From Python 3.12 on ``importlib.metadata.packages_distributions`` asks for each file of a distribution whether
it is still there.
"""

from __future__ import annotations

import csv
import importlib.metadata
import inspect
import sys
from importlib.metadata import Distribution
from importlib.metadata import packages_distributions as _pythons_own


def packages_distributions() -> dict[str, list[str]]:
    """Return the names of distributions by importable name, as Python's own function of this name does.

    A package whose files were all deleted is listed too; no import finds it.
    """
    if sys.version_info < (3, 12):  # lists otherwise, and looks at no file
        return dict(_pythons_own())
    found: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        for name in importable_names(distribution):
            found.setdefault(name, []).append(distribution.metadata["Name"])
    return found


def importable_names(distribution: Distribution) -> list[str]:
    """Return what can be imported of a distribution: what it declares, else what its record lists."""
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return declared
    record = distribution.read_text("RECORD")
    if record is None:
        files = [str(file) for file in distribution.files or ()]
    else:
        files = [row[0] for row in csv.reader(record.splitlines()) if row]
    return [name for name in {_first_name(file) for file in files} if "." not in name]


def _first_name(file: str) -> str:
    top, separator, _ = file.partition("/")
    return top if separator else inspect.getmodulename(top) or top
