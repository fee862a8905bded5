"""Ctrl-C that something between two blocks loses."""

from __future__ import annotations

import contextlib
import signal

import pytest

from harness._util.signals import deliver_interrupts


@pytest.mark.usefixtures("ctrl_c")
def test_a_lost_interrupt_keeps_a_nested_block_from_being_entered() -> None:
    entered = []

    def command() -> None:
        with deliver_interrupts():
            with deliver_interrupts():
                entered.append(1)
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with deliver_interrupts():
                entered.append(2)

    with pytest.raises(KeyboardInterrupt):
        command()
    assert entered == [1]
    with deliver_interrupts():
        entered.append(3)
    assert entered == [1, 3], "the next command starts afresh"
