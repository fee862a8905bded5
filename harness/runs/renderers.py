"""Who renders a run: the reference pipeline here or on several GPUs, behind what is kept already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.runs.dispatch import Retrying
from harness.runs.plan import Planned, RunOptions
from harness.runs.render_cache import Kept, Keys, Thrifty
from harness.schema.render import Renderer
from harness.schema.result import Row

if TYPE_CHECKING:
    from harness.runs.ray import Cluster


class Crew:
    """The renderers of one run; what is kept serves, unless it is ``fresh`` or judged by baselines.

    Args:
        renderer: a system under test of the caller's own, which renders everything itself.
        cluster: renders where there is one.
    """

    def __init__(
        self,
        options: RunOptions,
        device: str,
        keys: Keys,
        out: Path,
        todo: Sequence[Planned],
        renderer: Renderer | None,
        cluster: Cluster | None = None,
    ) -> None:
        self._out = out
        self._kept: Kept | None = None
        if renderer is not None:
            self.renderers: list[Renderer] = [renderer]
            return
        if not (options.fresh or options.baselines):
            self._kept = Kept(out, (keys.of(item.request) for item in todo if item.request is not None))
        if cluster is not None:
            made: list[Renderer] = [Retrying(actor) for actor in cluster.renderers]
        else:
            made = _several(options, device) or [reference_renderer(options, device)]
        self.renderers = [Thrifty(each, keys, self._kept) for each in made]

    def learn(self, row: Row) -> None:
        """Take note of a stored row, whose render serves whoever asks for it next."""
        if self._kept is not None:
            self._kept.learn(self._out, row)

    def close(self) -> None:
        """Close every renderer, all at once: a process that is busy takes its time."""
        with ThreadPoolExecutor(len(self.renderers)) as pool:
            list(pool.map(lambda renderer: renderer.close(), self.renderers))


def reference_renderer(options: RunOptions, device: str) -> Renderer:
    """Return the reference pipeline as a system under test, which goes on where its GPU is lost."""
    from harness.runs.workers import Reviving

    return Reviving(_maker(options, device))


def _several(options: RunOptions, device: str) -> list[Renderer]:
    """Return the reference pipeline in a process for each GPU; none where none was named."""
    from harness.runs.workers import Worker

    make = _maker(options, device)
    return [Retrying(Worker(make, {"CUDA_VISIBLE_DEVICES": gpu})) for gpu in options.gpus]


@contextmanager
def joined(options: RunOptions) -> Iterator[Cluster | None]:
    """Join the Ray cluster that ``options`` names, for as long as a run takes; None where they name none.

    Raises:
        HarnessError: the options contradict each other, or the cluster cannot be used.
    """
    if options.ray is None:
        if options.ray_workers is not None:
            raise HarnessError("stands without --ray", field="--ray-workers", fix="give --ray ADDRESS too")
        yield None
        return
    if options.gpus:
        raise HarnessError("stands beside --ray", field="--gpus", fix="give one of the two")
    from harness.runs.ray import Cluster

    cluster = Cluster(options.ray, options.ray_workers, options.device, partial(_make, options))
    try:
        yield cluster
    finally:
        cluster.close()


def _make(options: RunOptions, device: str) -> Renderer:
    return _maker(options, device)()


def _maker(options: RunOptions, device: str) -> Callable[[], Renderer]:
    from harness.pipeline.renderer import ReferenceRenderer

    return partial(
        ReferenceRenderer,
        device=device,
        offload=options.offload,
        trust_remote_code=options.trust_remote_code,
        engine=options.engine,
    )
