"""Ctrl-C that something between two blocks loses."""

from __future__ import annotations

import contextlib
import signal

import pytest

from harness._util.signals import heard


@pytest.mark.usefixtures("ctrl_c")
def test_what_was_lost_before_a_block_within_keeps_it_from_being_entered() -> None:
    entered = []

    def command() -> None:
        with heard():
            with heard():
                entered.append(1)
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with heard():
                entered.append(2)

    with pytest.raises(KeyboardInterrupt):
        command()
    assert entered == [1]
    with heard():
        entered.append(3)
    assert entered == [1, 3], "the next command begins anew"
