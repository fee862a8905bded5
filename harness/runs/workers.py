"""The renderers of a run: this process, one for each GPU, the actors of a Ray cluster, or a server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from harness._util.lean_imports import freeze_imports, lean_imports, pipeline_may_exist, share_process
from harness.errors import DeviceLostError
from harness.runs.kept_renderer import lend_kept
from harness.runs.plan import RunOptions
from harness.runs.worker_process import WorkerProcess
from harness.schema.render import OnStep, Render, Renderer, RenderRequest, TrajectoryRenderer

if TYPE_CHECKING:
    from harness.pipeline.checkpoint import Checkpoint
    from harness.pipeline.renderer import ReferenceRenderer
    from harness.runs.machine import Machine

FirstRender = tuple["Checkpoint", RenderRequest]
"""A render and the base that it needs."""

MAX_ATTEMPTS = 2
"""How often a render is begun whose process is lost."""

_log = logging.getLogger(__name__)


class RetryingRenderer(Renderer):
    """A renderer whose process may lose its GPU, or die: the render is begun again, once, in a new process.

    Args:
        renderer: renders until it is lost.
        replacement: makes what renders then; None starts ``renderer`` itself again.
    """

    def __init__(self, renderer: Renderer, replacement: Callable[[], Renderer] | None = None) -> None:
        self._renderer, self._replacement = renderer, replacement
        self._closed = False

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``.

        Raises:
            DeviceLostError: the process was lost every time.
        """
        attempt = 1
        while True:
            try:
                return self._renderer.render(request, on_step)
            except DeviceLostError as error:
                _log.info("a renderer was lost (%s), attempt %d of %d", error, attempt, MAX_ATTEMPTS)
                self._restart()
                if attempt == MAX_ATTEMPTS or self._closed:
                    raise
                attempt += 1

    def expect(self, requests: Sequence[RenderRequest]) -> None:
        """Tell the wrapped renderer which renders are to come."""
        self._renderer.expect(requests)

    def trajectories(self) -> TrajectoryRenderer | None:
        """Return what the wrapped renderer offers."""
        return self._renderer.trajectories()

    def close(self) -> None:
        """End the process; a render under way is lost with it, and not begun again."""
        self._closed = True
        self._end()

    def _restart(self) -> None:
        self._end()
        if self._replacement is not None:
            self._renderer, self._replacement = self._replacement(), None

    def _end(self) -> None:
        with suppress(Exception):  # a lost GPU refuses to be freed
            self._renderer.close()


class WorkerPool:
    """The renderers of one run.

    Args:
        renderer: a system under test of the caller's own, which renders everything itself.
        first: see ``first_render``.
    """

    def __init__(
        self,
        options: RunOptions,
        machine: Machine,
        renderer: Renderer | None = None,
        first: FirstRender | None = None,
    ) -> None:
        self.renderers = [renderer] if renderer is not None else _renderers(options, machine, first)
        self._closed = False

    def close(self) -> None:
        """Close every renderer, all at once: a process that is busy takes its time. Once."""
        if self._closed:
            return
        self._closed = True
        with ThreadPoolExecutor(len(self.renderers)) as threads:
            list(threads.map(lambda renderer: renderer.close(), self.renderers))


def first_render(
    bases: Mapping[str, Checkpoint], requests: Iterable[RenderRequest | None]
) -> FirstRender | None:
    """Return the first of ``requests`` whose base is in ``bases``, by name; None where there is none."""
    known = (each for each in requests if each is not None and str(each.base) in bases)
    request = next(known, None)
    return (bases[str(request.base)], request) if request is not None else None


def reference_renderer(options: RunOptions, device: str, first: FirstRender | None = None) -> Renderer:
    """Return the reference pipeline in this process; where its GPU is lost, a new process goes on.

    What a lost process had on the GPU is freed when it ends. To go on beside this one, the base must fit
    twice, or be offloaded.

    Args:
        first: what is rendered first: its weights are read to a GPU while libraries are imported.
    """
    make = partial(make_renderer, options, device)
    key = (device, options.offload, options.trust_remote_code, options.engine)
    return RetryingRenderer(lend_kept(key, partial(make, first)), lambda: WorkerProcess(make))


def _renderers(options: RunOptions, machine: Machine, first: FirstRender | None) -> list[Renderer]:
    if machine.system is not None:
        if not options.against_reference:
            return [machine.system]
        from harness.metrics.lpips import Lpips
        from harness.systems.against_reference import AgainstReference

        reference = reference_renderer(options, machine.device)
        return [AgainstReference(machine.system, reference, Lpips(options.lpips_weights))]
    if machine.cluster is not None:
        return [RetryingRenderer(actor) for actor in machine.cluster.renderers]
    make = partial(make_renderer, options, machine.device)
    if machine.device == "cpu" and options.cpu_processes > 1:
        return [RetryingRenderer(WorkerProcess(make, forked=True)) for _ in range(options.cpu_processes)]
    return [RetryingRenderer(WorkerProcess(make, {"CUDA_VISIBLE_DEVICES": gpu})) for gpu in options.gpus] or [
        reference_renderer(options, machine.device, first)
    ]


def make_renderer(options: RunOptions, device: str, first: FirstRender | None = None) -> ReferenceRenderer:
    """Return the reference pipeline in this process, and nothing around it; see ``reference_renderer``."""
    if device == "cuda" and first is not None:
        from harness.pipeline.prefetch import begin

        begin(*first, options.offload)
    if options.trust_remote_code:
        share_process()  # with the checkpoint's own code
    with lean_imports():
        from harness.pipeline.renderer import ReferenceRenderer
    freeze_imports()
    pipeline_may_exist()
    return ReferenceRenderer(
        device=device,
        offload=options.offload,
        trust_remote_code=options.trust_remote_code,
        engine=options.engine,
    )
