"""The ``harness`` fixture: what case items do, for hand-written tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.case import Case, load_case
from harness.errors import HarnessError
from harness.pytest_plugin.outcome import settle
from harness.runs.row import Row

if TYPE_CHECKING:
    from harness.pytest_plugin.session import Session


class Harness:
    """Renders and judges cases in the session's pipeline, run folder and report."""

    def __init__(self, session: Session, node: pytest.Item) -> None:
        self._session = session
        self._node = node

    def check(self, case: Case | Path | str) -> Row:
        """Render, score and judge a case as its own item would; bad input fails the test in one line.

        Args:
            case: a case, or the path of its file; a relative path starts at the test file's folder.

        Returns:
            The row, when the case matches.
        """
        try:
            if not isinstance(case, Case):
                case = load_case(self._node.path.parent / case)
            checked = self._session.check(self._session.plan([case])[0])
        except HarnessError as error:
            pytest.fail(str(error), pytrace=False)
        return settle(checked, self._node)
