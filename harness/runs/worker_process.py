"""A renderer in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from harness._util.garbage_collector import pause_collection
from harness._util.lean_imports import own_process
from harness._util.quiet_libraries import quiet_libraries
from harness._util.signals import shield_children
from harness.errors import DeviceLostError, HarnessError
from harness.runs import fork_server
from harness.schema.render import OnStep, Render, Renderer, RenderRequest

GRACE_SECONDS = 1.5
"""How long a process may take to end by itself."""

MakeRenderer = Callable[[], Renderer]
"""Makes a renderer; can be pickled."""


class WorkerProcess(Renderer):
    """A renderer in a process of its own, started by the first request, and again after ``close``.

    Args:
        make: makes the renderer there.
        environment: variables to set there first, such as ``CUDA_VISIBLE_DEVICES``.
        forked: from a process that has imported what renders (``fork_server``); else it imports that itself.
    """

    def __init__(
        self, make: MakeRenderer, environment: dict[str, str] | None = None, *, forked: bool = False
    ) -> None:
        self._make = make
        self._environment = environment or {}
        self._forked = forked
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._expected: Sequence[RenderRequest] = ()

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``.

        Raises:
            DeviceLostError: the process lost its GPU, or died.
        """
        pipe, process = self._started()
        try:
            pipe.send((request, self._expected))
            self._expected = ()
            while True:
                kind, content = pipe.recv()
                if kind == "render":
                    return content  # type: ignore[no-any-return]
                if kind == "error":
                    raise content
                if on_step is not None:
                    on_step(*content)
        except (EOFError, ConnectionError) as error:
            process.join()
            raise DeviceLostError(f"the worker process died ({process.exitcode})") from error

    def expect(self, requests: Sequence[RenderRequest]) -> None:
        """Tell the process which renders are to come, with the next of them."""
        self._expected = requests

    def close(self) -> None:
        """End the process: an idle one ends by itself, one that hangs is killed."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.join(GRACE_SECONDS)
            self._process.kill()
            self._process.join()
            self._process = self._pipe = None

    def _context(self) -> SpawnContext | ForkServerContext:
        if not self._forked:
            return multiprocessing.get_context("spawn")
        fork_server.begin()
        return multiprocessing.get_context("forkserver")

    def _started(self) -> tuple[Connection, BaseProcess]:
        if self._pipe is None or self._process is None:
            self._pipe, theirs = multiprocessing.Pipe()
            self._process = self._context().Process(
                target=_serve, args=(theirs, self._make, self._environment), daemon=True
            )
            with shield_children():
                self._process.start()
            theirs.close()
        return self._pipe, self._process


@own_process()
def _serve(pipe: Connection, make: MakeRenderer, environment: dict[str, str]) -> None:
    """Render what comes through the pipe until it is closed; Ctrl-C is for the other end."""
    quiet_libraries()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    renderer: Renderer | None = None
    with suppress(EOFError, ConnectionError):
        while True:
            request, expected = pipe.recv()
            try:
                if renderer is None:
                    with pause_collection():
                        renderer = make()
                renderer.expect(expected)
                done = renderer.render(request, lambda *step: pipe.send(("step", step)))
            except HarnessError as error:
                pipe.send(("error", error))
            else:
                pipe.send(("render", done))
