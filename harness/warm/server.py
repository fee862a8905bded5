"""The warm process: it takes commands through its socket, one after the other, and runs each as it was typed.

The main thread runs commands, since only that one can be interrupted; a thread for each connection reads the
request, and sees the other end go.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.warm.as_typed import STARTED_WITH, run_as_typed
from harness.warm.likeness import first_difference, likeness
from harness.warm.socket_folder import make_private, socket_path
from harness.warm.wire import ClosedError, is_ours, receive, send

REQUEST_SECONDS = 5.0
"""How long a connection may take to say what it wants."""

Execute = Callable[[Sequence[str]], None]
"""Runs a command line; ends as the command does."""


@dataclass
class _Request:
    connection: socket.socket
    content: dict[str, Any]
    files: list[int]
    gone: bool = False

    @property
    def line(self) -> str:
        return "harness " + " ".join(self.content["arguments"][:2])


class Server:
    """A warm process.

    Args:
        execute: runs a command line.
        held: says what is loaded, one line each.
        lost: whether this process can render no more.
        idle_seconds: without a command for so long, it ends.
        tell: is told of each command that ended.
    """

    def __init__(
        self,
        execute: Execute,
        held: Callable[[], list[str]],
        lost: Callable[[], bool],
        idle_seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._execute, self._held, self._lost, self._tell = execute, held, lost, tell
        self._idle_seconds = idle_seconds
        self._likeness = likeness(STARTED_WITH)
        self._requests: queue.Queue[_Request | None] = queue.Queue()
        self._lock = threading.Lock()
        self._running: _Request | None = None
        self._served, self._last_used = 0, time.monotonic()
        self._stopped = False

    def run(self, prepare: Callable[[], None]) -> str:
        """Serve until it is told to end, is idle for too long, or Ctrl-C; return why it ended.

        Args:
            prepare: imports what commands need, while the first may wait already.

        Raises:
            HarnessError: another warm process runs, or the socket cannot be made.
        """
        with _listening() as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                prepare()
                while not self._stopped:
                    if (request := self._requests.get(timeout=self._idle_seconds)) is not None:
                        self._serve(request)
                    if self._lost():
                        return "the GPU was lost"
                return "told to"
            except queue.Empty:
                return "idle"
            except KeyboardInterrupt:
                return "interrupted"
            finally:
                signal.signal(signal.SIGINT, before)

    def _serve(self, request: _Request) -> None:
        self._served += 1  # before its end is told: who asks then finds it counted
        try:
            with self._lock:
                self._running = None if request.gone else request
            if request.gone:
                return
            self._tell(f"{request.line} …")
            began = time.monotonic()
            code = self._ended(request)
            self._tell(f"{request.line}: exit code {code}, {time.monotonic() - began:.1f} s")
        except KeyboardInterrupt:
            if not request.gone:
                raise
        finally:
            with self._lock:
                self._running = None
            self._last_used = time.monotonic()
            _close(request.files)
            with suppress(OSError):
                request.connection.shutdown(socket.SHUT_RDWR)  # ends the thread that waits there

    def _ended(self, request: _Request) -> int:
        """Run a request's command and send how it ended; Ctrl-C here is this process's own end.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed here. The other end is told nothing, and goes on by itself.
        """
        try:
            with suppress(OSError):
                send(request.connection, {"began": True})
            code = run_as_typed(
                lambda: self._execute(request.content["arguments"]), request.content, request.files
            )
        except KeyboardInterrupt:
            code = 130
        with self._lock:
            self._running = None  # from here on, the other end may go
        if code == 130 and not request.gone:
            raise KeyboardInterrupt
        with suppress(OSError):
            send(request.connection, {"code": code})
        return code

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the process ends
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        """Read what a connection wants; of a command, wait for its end or for the other end to go."""
        connection.settimeout(REQUEST_SECONDS)
        with suppress(OSError, ClosedError):
            if is_ours(connection):
                content, files = receive(connection, max_files=3)
                if content.get("want") == "command" and len(files) == 3:
                    self._take(_Request(connection, content, files))
                else:
                    _close(files)
                    self._answer(connection, content.get("want"))
        connection.close()

    def _answer(self, connection: socket.socket, want: object) -> None:
        status = self.status()
        if want == "stop":
            self._stopped = True
            self._requests.put(None)
        send(connection, status)

    def _take(self, request: _Request) -> None:
        connection = request.connection
        found = first_difference(request.content.get("likeness", {}), self._likeness)
        if found is not None or self._stopped:
            why = "it is ending" if found is None else f"it has another {found}; harness serve --stop ends it"
            _close(request.files)
            send(connection, {"refused": why})
            return
        connection.settimeout(None)
        busy = self._running
        send(connection, {"waiting": f"waiting for {busy.line} in the warm process"} if busy else {})
        self._requests.put(request)
        with suppress(OSError):
            connection.recv(1)  # nothing comes: the command ended, or the other end is gone
        with self._lock:
            request.gone = True
            if self._running is request:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def status(self) -> dict[str, Any]:
        """Return what the process is, holds and does."""
        running = self._running
        return {
            "pid": os.getpid(),
            "holds": self._held(),
            "served": self._served,
            "running": running.line if running is not None else None,
            "waiting": self._requests.qsize(),
            "idle_seconds": 0.0 if running is not None else round(time.monotonic() - self._last_used, 1),
            "ends_after_seconds": self._idle_seconds,
        }


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


@contextmanager
def _listening() -> Iterator[socket.socket]:
    """Listen at this user's socket, alone; it is removed at the end.

    Raises:
        HarnessError: another warm process does, or the system has no such sockets.
    """
    from filelock import FileLock, Timeout

    if not hasattr(socket, "AF_UNIX") or not hasattr(socket, "recv_fds"):
        raise HarnessError("this system has no local sockets", fix="run commands without harness serve")
    path = socket_path()
    make_private(path.parent)
    try:
        lock = FileLock(path.with_suffix(".lock"), timeout=0)
        lock.acquire()
    except Timeout as error:
        fix = "see harness serve --status, or end it with --stop"
        raise HarnessError("a warm process runs already", file=path, fix=fix) from error
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            _bind(listener, path)
            listener.listen()
            yield listener
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _bind(listener: socket.socket, path: Path) -> None:
    path.unlink(missing_ok=True)  # of a process that was killed: nobody else has the lock
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        fix = "set XDG_RUNTIME_DIR to a folder of yours with a short name"
        raise HarnessError(f"cannot be made ({error})", file=path, fix=fix) from error
    finally:
        os.umask(mask)
