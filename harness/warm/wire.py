"""Messages over a local socket: a length, then JSON; file descriptors come with the length.

Nothing is unpickled, and the other end must be a process of the same user.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

MAX_BYTES = 1 << 22
"""Longest message; a command line and its environment are limited to 2 MiB by Linux."""

_LENGTH = struct.Struct("!I")


class ClosedError(Exception):
    """The other end closed the connection, or sent what is no message."""


def send(connection: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send one message, with open files."""
    body = json.dumps(message).encode()
    if files:
        socket.send_fds(connection, [_LENGTH.pack(len(body))], files)
        connection.sendall(body)
    else:
        connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket, max_files: int = 0) -> tuple[dict[str, Any], list[int]]:
    """Return the next message, and the files that came with it; the caller closes them.

    Raises:
        ClosedError: there is none.
        OSError: the connection failed, or its time is over.
    """
    files: list[int] = []
    try:
        head = b""
        if max_files:
            head, files, _, _ = socket.recv_fds(connection, _LENGTH.size, max_files)
        head += _exactly(connection, _LENGTH.size - len(head))
        (length,) = _LENGTH.unpack(head)
        if length > MAX_BYTES:
            raise ClosedError(f"a message of {length} bytes")
        message = json.loads(_exactly(connection, length))
        if not isinstance(message, dict):
            raise ClosedError("no message")
    except BaseException as error:
        for file in files:
            os.close(file)
        if isinstance(error, ValueError):
            raise ClosedError("no message") from error
        raise
    return message, files


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ClosedError("the connection was closed")
        parts += part
    return bytes(parts)


def is_ours(connection: socket.socket) -> bool:
    """Whether the other end runs as this user; where the system cannot say, the folder's owner decides."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(uid == os.getuid())
