"""The case, the step and the time left, while a case renders."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest

from harness.pytest_plugin.workers import worker_count

QUIET_SECONDS = 60.0
"""Without a terminal to draw on, a line at most this often."""


class StepProgress:
    """Writes on pytest's own terminal, past its capturing; an xdist worker has none and writes nothing.

    Args:
        plugins: pytest's plugin manager, which knows the terminal reporter and the capturing.
        steps: denoising steps of the whole session; raised by cases that were not planned.
    """

    def __init__(self, plugins: pytest.PytestPluginManager, steps: int) -> None:
        reporter: Any = plugins.get_plugin("terminalreporter")
        self._capture: Any = plugins.get_plugin("capturemanager")
        self._writer = reporter._tw if reporter is not None and worker_count() == 1 else None
        self._drawn = bool(self._writer and self._writer.hasmarkup)
        self._steps, self._done, self._spent = steps, 0, 0.0
        self._said = time.monotonic()
        self._case, self._started = "", 0.0

    def case_started(self, case: str) -> None:
        """A case begins."""
        self._case, self._started = case, time.monotonic()

    def step_done(self, done: int, total: int) -> None:
        """``done`` of ``total`` steps of the case are made."""
        if self._writer is None or not (self._drawn or time.monotonic() - self._said > QUIET_SECONDS):
            return
        self._said = time.monotonic()
        text = f"{self._case}  step {done}/{total}  {self._left(done, total)}"
        self._write(f"\r{text}\033[K\r" if self._drawn else f"\n{text}\n")

    def case_ended(self, total: int) -> None:
        """The case is rendered."""
        self._spent += time.monotonic() - self._started
        self._done += total
        if self._drawn:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        assert self._writer is not None
        with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
            self._writer.write(text, flush=True)

    def _left(self, done: int, total: int) -> str:
        spent = self._spent + time.monotonic() - self._started
        made = self._done + done
        steps = max(self._steps, self._done + total)
        seconds = round(spent / made * (steps - made))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
