"""What a warm process says of itself, without one."""

from __future__ import annotations

import socket

from harness.warm.server import Server
from harness.warm.wire import receive


def test_its_own_end_is_no_command_that_waits() -> None:
    server = Server(lambda _: None, list, lambda: False, 60, print)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server._answer(ours, "stop")
        answer, _ = receive(theirs)
    assert answer["waiting"] == 0
