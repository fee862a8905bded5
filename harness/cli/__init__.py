"""The command line: one thin file per command, no logic."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run ``harness``; bad input prints one line and exits with its code."""
    from harness.cli.app import app
    from harness.errors import HarnessError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="harness")
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
