"""Answers that other commands left in a run folder as JSON files, to be shown with their cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from harness._util.validation import read_model
from harness.errors import HarnessError, RunError

Found = TypeVar("Found")


class SavedAnswer(BaseModel):
    """What a file in a run folder says; what the report does not show of it is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Answer = TypeVar("Answer", bound=BaseModel)


def read_answer(path: Path, answer: type[Answer], fix: str) -> Answer:
    """Return what one of the files says.

    Args:
        fix: what to do about a file that is no ``answer``.

    Raises:
        RunError: it is no ``answer``.
    """
    return read_model(path, answer, RunError, fix=fix, missing_fix=fix)


def read_answers(
    folder: Path, read: Callable[[Path], Found], damaged: list[HarnessError] | None = None
) -> Iterator[tuple[Path, Found]]:
    """Yield each JSON file of ``folder`` with what it says, by file name.

    Args:
        read: reads one file.
        damaged: takes what is wrong with each file that cannot be read, and the others are read; None raises
            the first one.

    Raises:
        RunError: ``read`` raises it.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            yield path, read(path)
        except RunError as error:
            if damaged is None:
                raise
            damaged.append(error)
