"""The case, the step and the time left, while a case renders."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from rich.console import Console

from harness.pytest_plugin.xdist import worker_count
from harness.runs.planned import Planned
from harness.runs.progress import ProgressBar

QUIET_SECONDS = 60.0
"""Without a terminal to draw on, a line at most this often."""


class StepProgress(ProgressBar):
    """Writes on pytest's own terminal, past its capturing; an xdist worker has none and writes nothing.

    Args:
        plugins: pytest's plugin manager, which knows the terminal reporter and the capturing.
        steps: denoising steps of the whole session.
    """

    def __init__(self, plugins: pytest.PytestPluginManager, steps: int) -> None:
        reporter: Any = plugins.get_plugin("terminalreporter")
        self._capture: Any = plugins.get_plugin("capturemanager")
        writer = reporter._tw if reporter is not None and worker_count() == 1 else None
        self._console = Console(
            file=writer._file if writer is not None else io.StringIO(),
            force_terminal=writer is not None and writer.hasmarkup,
        )
        super().__init__(self._console, live=False)
        self.plan(steps)
        self._told = time.monotonic()

    @contextmanager
    def rendering(self, item: Planned) -> Iterator[None]:
        """A case, or a variant of one, is rendered inside."""
        self.case_started(item)
        if not self._console.is_terminal:
            yield
            return
        with self._uncaptured():
            self.bar.start()
        try:
            yield
        finally:
            with self._uncaptured():
                self.bar.stop()

    def step_done(self, done: int, total: int) -> None:
        """Draw the bar, or write a line now and then where there is no terminal."""
        super().step_done(done, total)
        if self._console.is_terminal:
            with self._uncaptured():
                self.bar.refresh()
        elif time.monotonic() - self._told > QUIET_SECONDS:
            self._told = time.monotonic()
            task = self.bar.tasks[0]
            left = round(task.time_remaining or 0)
            with self._uncaptured():
                self._console.print(f"\n{task.description}  step {done}/{total}  about {left} s left")

    def _uncaptured(self) -> AbstractContextManager[None]:
        return self._capture.global_and_fixture_disabled() if self._capture else nullcontext()
