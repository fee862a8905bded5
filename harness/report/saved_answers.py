"""Answers that other commands left in a run folder as JSON files, to be shown with their cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from harness._util.validation import read_model
from harness.errors import HarnessError, RunError


class SavedAnswer(BaseModel):
    """What a file in a run folder says; what the report does not show of it is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Answer = TypeVar("Answer", bound=SavedAnswer)


def read_answers(
    folder: Path, answer: type[Answer], *, fix: str, damaged: list[HarnessError] | None = None
) -> Iterator[tuple[Path, Answer]]:
    """Yield each JSON file of ``folder`` with what it says, by file name.

    Args:
        fix: what to do about a file that is no ``answer``.
        damaged: takes what is wrong with each such file, and the others are read; None raises the first one.

    Raises:
        RunError: a file is no ``answer``.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            yield path, read_model(path, answer, RunError, fix=fix, missing_fix=fix)
        except RunError as error:
            if damaged is None:
                raise
            damaged.append(error)
