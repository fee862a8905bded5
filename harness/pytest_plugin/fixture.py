"""The ``harness`` fixture: what case items do, for hand-written tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.errors import CaseError, HarnessError
from harness.pytest_plugin.outcome import settle
from harness.schema.case import Case, load_case
from harness.schema.result import Row

if TYPE_CHECKING:
    from harness.pytest_plugin.plugin_session import PluginSession

HOW = "give a case, or the path of a *.case.yaml relative to the test file"


class Harness:
    """Renders and judges cases in the session's pipeline, run folder and report."""

    def __init__(self, session: PluginSession, node: pytest.Item) -> None:
        self._session = session
        self._node = node

    def check(self, case: Case | str | os.PathLike[str]) -> Row:
        """Render, score and judge a case as its own item would; bad input fails the test in one line.

        Args:
            case: a case, or the path of its file; a relative path starts at the test file's folder.

        Returns:
            The row, when the case matches.
        """
        try:
            checked = self._session.check(self._session.plan([self._case(case)])[0])
        except HarnessError as error:
            raise refusal(error) from None
        return settle(checked, self._node)

    def _case(self, given: object) -> Case:
        """Return the case that was given, or is in the file that was."""
        if isinstance(given, Case):
            return given
        path = os.fspath(given) if isinstance(given, os.PathLike) else given
        if not isinstance(path, str):
            raise CaseError(f"found {given!r:.80}", field="harness.check", fix=HOW)
        try:
            return load_case(self._node.path.parent / path)
        except CaseError as error:
            if isinstance(error.__cause__, OSError):
                error.fix = HOW
            raise


def refusal(error: Exception) -> BaseException:
    """Return a failure of one line; raise it ``from None``, or pytest prints what came before it too."""
    return pytest.fail.Exception(str(error), pytrace=False)
