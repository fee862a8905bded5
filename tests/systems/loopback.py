"""An HTTP server on loopback that can be restarted, answer out of order, and want a header."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.pipeline.renderer import ReferenceRenderer

RENDERING = threading.Lock()
"""Whoever holds it may render with ``renderer``."""
Fault = Callable[[str], int | None]
"""Says with which status a path is answered instead; None answers it."""


@cache
def renderer() -> ReferenceRenderer:
    """Return what the servers of all tests render with: the base is loaded once."""
    return ReferenceRenderer(device="cpu")


class LoopbackServer:
    """Serves while it is open; derive from it and define ``found`` and ``forget``.

    Attributes:
        token: what the header ``X-Token`` must hold; None wants none.
        headers: are sent with every answer.
        posts: what renders were asked for.
    """

    def __init__(self, *, token: str | None = None) -> None:
        self.token = token
        self.fault: Fault = lambda _path: None
        self.headers: dict[str, str] = {}
        self.posts: list[dict[str, Any]] = []
        self._http = self._listen(0)
        self.port = self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def restart(self) -> None:
        """Refuse connections for a moment, and forget everything."""
        LoopbackServer.close(self)
        self.forget()
        self._http = self._listen(self.port)

    def forget(self) -> None:
        """Drop what a restart loses."""
        raise NotImplementedError

    def found(self, path: str, body: bytes | None) -> tuple[int, Any]:
        """Return status and answer: bytes as they are, anything else as JSON."""
        raise NotImplementedError

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                server.answer(self, None)

            def do_POST(self) -> None:
                server.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        http = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=http.serve_forever, args=(0.005,), daemon=True).start()
        return http

    def answer(self, call: BaseHTTPRequestHandler, body: bytes | None) -> None:
        if self.token is not None and call.headers.get("X-Token") != self.token:
            status, found = 401, {"detail": f"bad token {call.headers.get('X-Token')}"}
        elif (fault := self.fault(call.path)) is not None:
            status, found = fault, {"detail": "out of order"}
        else:
            status, found = self.found(call.path, body)
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        call.send_response(status)
        for name, value in self.headers.items():
            call.send_header(name, value)
        call.send_header("Content-Length", str(len(data)))
        call.end_headers()
        call.wfile.write(data)


@contextmanager
def restarting(server: LoopbackServer, times: int, *, every: int) -> Iterator[None]:
    """Restart ``server`` within the block, a random moment after every so many requests."""
    over, moments, before = threading.Event(), random.Random(5), len(server.posts)

    def restart() -> None:
        for count in range(1, times + 1):
            while len(server.posts) - before < count * every:
                if over.wait(0.002):
                    return
            time.sleep(moments.uniform(0, 0.1))
            server.restart()

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
