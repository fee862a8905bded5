"""The command line: one thin file per command, no logic."""

from __future__ import annotations

import atexit
import gc
import io
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.errors import HarnessError


def main() -> None:
    """Run ``harness``; bad input, a disk that refuses and Ctrl-C print one line and exit with their code."""
    from harness._util.lean_imports import own_process
    from harness.cli.streams import outlive_readers

    atexit.register(gc.freeze)  # a process ends faster where nothing looks for garbage
    outlive_readers()
    with own_process():
        run_command()


def run_command(arguments: Sequence[str] | None = None) -> None:
    """Run one command line, this process's own unless given; ends by SystemExit."""
    try:
        _run_command(arguments)
    except KeyboardInterrupt:
        interrupted()


def _run_command(arguments: Sequence[str] | None) -> None:
    from harness.cli.app import app
    from harness.errors import HarnessError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(args=arguments, prog_name="harness")
    except OSError as error:
        refuse(HarnessError(error.strerror or str(error), file=error.filename))
    except HarnessError as error:
        refuse(error)


def interrupted(how: str = "no file is half-written; repeat the command") -> NoReturn:
    """Print that Ctrl-C ended the command and ``how`` to go on, as one line, and exit."""
    print(f"harness: interrupted: {how}", file=sys.stderr)
    sys.exit(130)


def refuse(error: HarnessError) -> NoReturn:
    """Print ``error`` as one line and exit with its code."""
    print(f"harness: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def refuse_some(errors: Sequence[HarnessError]) -> None:
    """Print what was passed over, a line each, once all else is done, and exit with the last one's code."""
    for error in errors[:-1]:
        print(f"harness: {error}", file=sys.stderr)
    for error in errors[-1:]:
        refuse(error)
