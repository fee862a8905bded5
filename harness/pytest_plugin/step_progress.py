"""The case, the step and the time left, while a case renders."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from harness.pytest_plugin.xdist import worker_count
from harness.runs.plan import REFERENCE, Planned
from harness.runs.progress import Progress

QUIET_SECONDS = 60.0
"""Without a terminal to draw on, a line at most this often."""


def steps_of(item: Planned) -> int:
    """Return how many denoising steps a planned render makes."""
    return item.request.sample_steps if item.request is not None and item.same_as is None else 0


class StepProgress(Progress):
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

    @contextmanager
    def rendering(self, item: Planned) -> Iterator[None]:
        """A case, or a variant of one, is rendered inside."""
        variant = "" if item.variant == REFERENCE else f" {item.variant}"
        self._case, self._started = f"{item.case.id}{variant}", time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - self._started
            self._done += steps_of(item)
            if self._drawn:
                self._write("\r\033[K")

    def step_done(self, done: int, total: int) -> None:
        """``done`` of ``total`` steps of the case are made."""
        if self._writer is None or not (self._drawn or time.monotonic() - self._said > QUIET_SECONDS):
            return
        self._said = time.monotonic()
        text = f"{self._case}  step {done}/{total}  {self._left(done, total)}"
        self._write(f"\r{text}\033[K\r" if self._drawn else f"\n{text}\n")

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
