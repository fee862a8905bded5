"""Ctrl-C that stays Ctrl-C, even where other code swallows the KeyboardInterrupt.

Python raises it at whatever line is running. In a ``__set_name__``, while a module is imported, CPython up to
3.11 turns it into a RuntimeError; in a destructor it is dropped; a library may catch it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_presses = 0
_presses_before = 0
"""Presses of Ctrl-C when the outermost block began."""


@contextmanager
def deliver_interrupts() -> Iterator[None]:
    """End the block with KeyboardInterrupt if Ctrl-C was pressed within it, even if the exception got lost.

    A nested block also raises, before it is entered, for an interrupt that was lost earlier in the outer
    one. Does nothing outside the main thread, or where another handler is installed.
    """
    global _presses_before  # noqa: PLW0603
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler not in _KNOWN_HANDLERS:
        yield
        return
    if handler is not _on_interrupt:
        _presses_before = _presses
    elif _presses > _presses_before:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, _on_interrupt)
    try:
        yield
    except Exception as error:
        if _presses > _presses_before:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
    if _presses > _presses_before:
        raise KeyboardInterrupt


@contextmanager
def shield_children() -> Iterator[None]:
    """Let processes started within the block ignore Ctrl-C, which a terminal sends to all of them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _on_interrupt(*_: object) -> NoReturn:
    global _presses  # noqa: PLW0603
    _presses += 1
    raise KeyboardInterrupt


_KNOWN_HANDLERS = (signal.default_int_handler, _on_interrupt)
