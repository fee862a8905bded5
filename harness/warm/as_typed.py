"""Run a command as if it had been started where somebody typed it: terminal, folder, environment."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

_MODES = ("r", "w", "w")
_STREAMS = ("stdin", "stdout", "stderr")


def run_as_typed(command: Callable[[], None], request: Mapping[str, Any], files: Sequence[int]) -> int:
    """Return the exit code of ``command``, which ends by SystemExit or by itself.

    Args:
        request: ``folder``, ``environment`` and ``umask`` of the process that it was typed for.
        files: that process's standard input, output and error.

    Raises:
        KeyboardInterrupt: as the command does.
    """
    with ExitStack() as stack:
        stack.enter_context(_streams(files))
        try:
            stack.enter_context(_folder(request["folder"]))
            stack.enter_context(_environment(request["environment"]))
            stack.callback(os.umask, os.umask(request["umask"]))
            command()
        except SystemExit as end:
            return _code(end.code)
        except Exception:
            traceback.print_exc()
            return 1
        return 0


def _code(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


@contextmanager
def _streams(files: Sequence[int]) -> Iterator[None]:
    """Let Python read and write ``files``; a process that is started keeps this process's own streams.

    One that lives on, such as a compiler's, would otherwise keep a pipe open that somebody reads to its end.
    """
    own = [getattr(sys, name) for name in _STREAMS]
    for name, mode, file in zip(_STREAMS, _MODES, files, strict=True):
        buffering = 1 if os.isatty(file) or name == "stderr" else -1
        made = open(file, mode, buffering, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        setattr(sys, name, made)
    try:
        yield
    finally:
        for name, stream in zip(_STREAMS, own, strict=True):
            with suppress(OSError, ValueError):  # nobody reads it any more
                getattr(sys, name).close()
            setattr(sys, name, stream)


@contextmanager
def _folder(folder: str) -> Iterator[None]:
    before = os.open(".", os.O_RDONLY)  # this process's own may have been deleted, and has no name then
    try:
        os.chdir(folder)
        try:
            yield
        finally:
            os.fchdir(before)
    finally:
        os.close(before)


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Take the given variables, beside those that this process set for itself, such as caches."""
    before = dict(os.environ)
    own = {name: value for name, value in before.items() if name not in STARTED_WITH}
    os.environ.clear()
    os.environ.update({**given, **own})
    try:
        yield
    finally:
        made = {name: value for name, value in os.environ.items() if name not in given}
        os.environ.clear()
        os.environ.update({**before, **made})


STARTED_WITH = dict(os.environ)
"""This process's variables as they were when it began."""
