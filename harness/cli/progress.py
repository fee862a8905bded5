"""What a run shows while it goes on: the case, the steps done and left, and each verdict."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness._util.redaction import visible
from harness.cli import interrupted
from harness.runs.planned import Planned
from harness.runs.progress import ProgressBar, steps_of
from harness.schema.result import REFERENCE, Row, Verdict

STYLES = {
    Verdict.MATCH: "green",
    Verdict.DRIFT: "yellow",
    Verdict.REGRESSION: "red",
    Verdict.INCOMPARABLE: "cyan",
    Verdict.ERROR: "red",
}


def count(cases: int) -> str:
    """Return a number of cases in words."""
    return "1 case" if cases == 1 else f"{cases} cases"


class LiveProgress(ProgressBar):
    """A bar over all denoising steps, and a line for each row.

    Ctrl-C ends the command with exit code 130 and says how to go on.

    Args:
        option: the option that names the run folder.
    """

    def __init__(self, option: str = "--out") -> None:
        self._console, self._option = Console(), option
        super().__init__(self._console)
        self._folder: Path | None = None

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        if self.bar.live.is_started:
            self.bar.stop()
        if kind is KeyboardInterrupt and self._folder is not None:
            interrupted(f"what was finished is saved; repeat the command with {self._option} {self._folder}")

    def started(self, folder: Path, todo: list[Planned], done: int) -> None:
        """Say where the run goes, and how much of it was done before."""
        self._folder = folder
        resumed = f", {done} of them done before" if done else ""
        self._console.print(Text(f"{count(len(todo) + done)} → {folder}{resumed}"))
        if steps := sum(map(steps_of, todo)):
            self.plan(steps)
            self.bar.start()

    def told(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(visible(line)), soft_wrap=True)

    def case_done(self, row: Row) -> None:
        """Print the case's verdict above the bar; only a terminal gets it cut to one line."""
        if self._console.is_terminal:
            self._console.print(_line(row), no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(_line(row), soft_wrap=True)


def _line(row: Row) -> Text:
    name = row.case if row.variant == REFERENCE else f"{row.case} {row.variant}"
    return Text.assemble(
        (f"{row.verdict.value:>12}", STYLES[row.verdict]), "  ", name, "  ", (visible(row.reason), "dim")
    )
