"""Case files and cases as pytest's collectors and items."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.runs.planned import Planned
    from harness.schema.case import Case

NO_VERDICT = pytest.mark.filterwarnings("default")
"""A library's warning decides nothing about a case, also where the project makes errors of warnings."""


class CaseFile(pytest.File):
    """A ``*.case.yaml`` file: it holds one item."""

    def collect(self) -> Iterator[CaseItem]:
        """Yield the case; a file that cannot be read is a collection error of one line.

        Cases are kept to the end of the session: looking for garbage among thousands of them finds none, and
        took a quarter of the time. The collector runs again after collecting (``pytest_collection``).
        """
        from harness.errors import CaseError
        from harness.schema.case import load_case

        gc.disable()
        try:
            case = load_case(self.path)
        except CaseError as error:
            raise self.CollectError(str(error)) from error
        yield CaseItem.from_parent(self, name=case.id, case=case)


class CaseItem(pytest.Item):
    """One case; its name is the case's id."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_marker(NO_VERDICT)
        self.case = case
        self.planned: Planned | None = None

    def runtest(self) -> None:
        """Render, score and judge the case."""
        from harness.pytest_plugin import _session
        from harness.pytest_plugin.outcome import settle

        session = _session(self.config)
        settle(session.check(self.planned or session.plan([self.case])[0]), self)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Print bad input as its one line, and everything unexpected with its traceback.

        An expected failure has no traceback either: pytest parses every source file on its way for it.
        """
        from harness.errors import HarnessError

        if isinstance(excinfo.value, pytest.xfail.Exception):
            return str(excinfo.value)
        if isinstance(excinfo.value, HarnessError):
            return f"{self.name}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the item by its case; pytest wants a line, counted from 0, where a mark skips it."""
        return self.path, 0, self.name
