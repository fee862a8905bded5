"""Ctrl-C that stays Ctrl-C, whatever foreign code makes of the KeyboardInterrupt.

Python raises it wherever it happens to be. Where that is a ``__set_name__``, while a module is imported,
CPython up to 3.11 makes a RuntimeError of it; in a destructor it is dropped; foreign code may catch it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_presses = 0
_before = 0
"""Presses when the outermost block began."""


@contextmanager
def heard() -> Iterator[None]:
    """Leave the block by KeyboardInterrupt where Ctrl-C was pressed within, even if it was lost on the way.

    A block within another is left, or not entered, also for what was lost in the other before. Only in the
    main thread, and where nobody else handles the signal.
    """
    global _before  # noqa: PLW0603
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler not in _KNOWN:
        yield
        return
    if handler is not _press:
        _before = _presses
    elif _presses > _before:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, _press)
    try:
        yield
    except Exception as error:
        if _presses > _before:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
    if _presses > _before:
        raise KeyboardInterrupt


@contextmanager
def unheard() -> Iterator[None]:
    """Let a process that is started within never hear Ctrl-C, which a terminal sends to all of them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _press(*_: object) -> NoReturn:
    global _presses  # noqa: PLW0603
    _presses += 1
    raise KeyboardInterrupt


_KNOWN = (signal.default_int_handler, _press)
