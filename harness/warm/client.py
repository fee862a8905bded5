"""Give a command to the warm process, where one runs and would render the same bits."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.warm.likeness import likeness
from harness.warm.socket_folder import is_private, socket_path
from harness.warm.wire import ClosedError, is_ours, receive, send

ANSWER_SECONDS = 20.0
"""How long a warm process may take to say whether it takes a command; it says so while it renders, too."""


@dataclass(frozen=True)
class Ended:
    """How a command ended in the warm process.

    Attributes:
        interrupted: Ctrl-C was pressed here meanwhile.
    """

    code: int
    interrupted: bool = False


def run_there(arguments: Sequence[str]) -> Ended | None:
    """Run the command ``arguments`` in the warm process, on this terminal and in this folder.

    Returns:
        How it ended; None where no warm process runs, or it cannot stand in, which is said in one line. Then
        the command is this process's own.
    """
    with _connection() as connection:
        if connection is None:
            return None
        try:
            send(connection, _request(arguments), (0, 1, 2))
            answer, _ = receive(connection)
            connection.settimeout(None)
        except (ClosedError, OSError) as error:
            _say(f"the warm process does not answer ({error}); going on without it")
            return None
        if "refused" in answer:
            _say(f"not given to the warm process: {answer['refused']}")
            return None
        return _wait(connection, answer)


def ask(want: str) -> dict[str, Any] | None:
    """Return the warm process's answer to ``status`` or ``stop``; None where none runs."""
    with _connection() as connection:
        if connection is None:
            return None
        try:
            send(connection, {"want": want})
            return receive(connection)[0]
        except (ClosedError, OSError):
            return None


@contextmanager
def _connection() -> Iterator[socket.socket | None]:
    """Connect, where a socket lies in a folder of this user's alone and its other end is this user's."""
    path = socket_path() if hasattr(socket, "AF_UNIX") else None
    if path is None or not is_private(path.parent):
        yield None
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            usable = is_ours(connection)
        except OSError:  # no socket, or that of a process that was killed
            usable = False
        yield connection if usable else None


def _request(arguments: Sequence[str]) -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "want": "command",
        "arguments": list(arguments),
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": _environment(),
        "umask": mask,
        "likeness": likeness(os.environ),
    }


def _environment() -> dict[str, str]:
    """Return this process's variables, with the terminal's size: the other process cannot ask for it."""
    if not os.isatty(1):
        return dict(os.environ)
    columns, lines = os.get_terminal_size(1)
    return {"COLUMNS": str(columns), "LINES": str(lines), **os.environ}


def _wait(connection: socket.socket, answer: dict[str, Any]) -> Ended | None:
    """Wait for the command's end; Ctrl-C ends it there too, a second one does not wait for that."""
    began = interrupted = False
    while True:
        try:
            if "waiting" in answer:
                _say(str(answer["waiting"]))
            began = began or "began" in answer
            if "code" in answer:
                return Ended(int(answer["code"]), interrupted)
            answer, _ = receive(connection)
        except KeyboardInterrupt:
            if interrupted or not began:
                raise
            interrupted, answer = True, {}
            connection.shutdown(socket.SHUT_WR)
        except (ClosedError, OSError):
            if interrupted:
                raise KeyboardInterrupt from None
            _say("the warm process ended before the command did; going on without it")
            return None


def _say(line: str) -> None:
    print(f"harness: {line}", file=sys.stderr, flush=True)
