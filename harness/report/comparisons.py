"""Comparisons in a run folder, saved as ``comparison/NAME.html`` and NAME.json, to be shown with their cases.

Written by ``harness compare CASE IMAGE --out reports/NAME``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.report.saved_answers import SavedAnswer, read_answer, read_answers

FOLDER = "comparison"


class _Difference(SavedAnswer):
    setting: str


class _Answer(SavedAnswer):
    case: str
    image: str
    incomparable: str | None = None
    differences: tuple[_Difference, ...] = ()


@dataclass(frozen=True)
class StoredComparison:
    """What a case's page says of one comparison.

    Attributes:
        page: name of its page's file.
        is_there: whether that file is.
    """

    case: str
    image: str
    page: str
    summary: str
    is_there: bool


def read_comparisons(
    folder: Path, damaged: list[HarnessError] | None = None
) -> dict[str, list[StoredComparison]]:
    """Return the comparisons in a run folder, by case.

    Args:
        damaged: takes what is wrong with each file that is no comparison; None raises the first one.

    Raises:
        RunError: a file is not a comparison.
    """
    found: dict[str, list[StoredComparison]] = {}
    for file, answer in read_answers(folder / FOLDER, _read, damaged):
        names = ", ".join(each.setting for each in answer.differences)
        summary = answer.incomparable or (f"differs: {names}" if names else "no setting differs")
        page = file.with_suffix(".html")
        stored = StoredComparison(answer.case, answer.image, page.name, summary, page.is_file())
        found.setdefault(answer.case, []).append(stored)
    return found


def _read(file: Path) -> _Answer:
    return read_answer(file, _Answer, fix="compare again, or remove it")
