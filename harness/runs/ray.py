"""A Ray cluster as renderers: an actor with one GPU each, which loads the weights once.

Requests, LoRAs and images travel through Ray's object store, so the machines need share no disk; each needs
the harness and the base. Scoring, rows and images stay with the process that owns the run folder.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness._util.atomic_files import write_bytes
from harness.errors import CheckpointError, DeviceError, DeviceLostError, HarnessError
from harness.runs.render_cache import code_sha256
from harness.runs.run_identity import differences
from harness.schema.render import OnStep, Render, Renderer, RenderRequest

SAME_HARNESS = "every machine needs the same harness, installed with its libraries"
MAX_REASON = 160
"""Characters of Ray's own words in a message."""
Make = Callable[[str], Renderer]
"""Makes a renderer on the device that is named; can be pickled."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What an actor says of the machine that it runs on."""

    pid: int
    device: str
    environment: dict[str, Any]
    code: str
    free: int
    """Bytes of its GPU's memory that are free; 0 on a CPU."""


class Cluster:
    """Actors on the cluster at ``address``, all on machines of one kind; ``ray`` is the library.

    Args:
        address: as ``ray.init`` takes it: ``auto``, ``ray://HOST:PORT``, or ``local`` for a new one here.
        workers: how many actors; None is one for each GPU of the cluster.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        HarnessError: Ray is not installed.
        DeviceError: the cluster cannot be reached, has no room, or its machines cannot serve together.
    """

    def __init__(self, address: str, workers: int | None, device: str, make: Make) -> None:
        self.ray = _import_ray()
        self._loras: dict[str, Any] = {}
        self.renderers: list[Actor] = []
        try:
            self.ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DeviceError(
                f"{address} cannot be reached ({_reason(error)})", field="--ray", fix="see ray status"
            ) from error
        try:
            resources = self.ray.cluster_resources()
            cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            gpus = 0 if device == "cpu" else gpus
            workers = workers or max(1, gpus)
            if workers > (room := min(cpus, gpus) if gpus else cpus):
                raise DeviceError(
                    f"asked for {workers} workers, and the cluster has room for {room}",
                    field="--ray-workers",
                    fix="each takes a processor, and a GPU where there are some: see ray status",
                )
            self.renderers += [Actor(self, device, make, gpu=gpus > 0) for _ in range(workers)]
            for actor in self.renderers:
                actor.start()  # all import at once
            self.facts = self.renderers[0].begin()
            for actor in self.renderers:
                actor.begin()
        except DeviceLostError as error:
            self.close()
            raise DeviceError(error.found, field="--ray", fix=SAME_HARNESS) from error
        except BaseException:
            self.close()
            raise

    def lora(self, request: RenderRequest) -> Any:
        """Return the request's LoRA as an object of the cluster, put there once; None without one."""
        if request.lora is None:
            return None
        if request.lora.sha256 not in self._loras:
            self._loras[request.lora.sha256] = self.ray.put(request.lora.file.read_bytes())
        return self._loras[request.lora.sha256]

    def close(self) -> None:
        """End the actors and leave the cluster."""
        for actor in self.renderers:
            actor.close()
        self.ray.shutdown()


class Actor(Renderer):
    """A renderer on some machine of the cluster; started by the first request, and again after ``close``."""

    def __init__(self, cluster: Cluster, device: str, make: Make, *, gpu: bool) -> None:
        self._cluster, self._device, self._make, self._gpu = cluster, device, make, gpu
        self._handle: Any = None
        self.facts: Facts | None = None

    def start(self) -> None:
        """Start the actor where it is not running, and wait for nothing."""
        if self._handle is None:
            remote = self._cluster.ray.remote(num_gpus=int(self._gpu), num_cpus=1, max_restarts=0)(_Serving)
            with self._losing():
                self._handle = remote.remote(self._device, self._make)

    def begin(self) -> Facts:
        """Start the actor where it is not running, and check that its machine is like the others.

        Raises:
            DeviceLostError: it died.
            DeviceError: its machine is of another kind, or the device or the whole cluster is not there.
        """
        self.start()
        if self.facts is None:
            with self._losing():
                answer = self._cluster.ray.get(self._handle.facts.remote())
            self.facts = _content(answer)
        if self.facts.code != code_sha256():
            raise DeviceError("a worker has other sources of the harness", field="--ray", fix=SAME_HARNESS)
        expected = getattr(self._cluster, "facts", self.facts)
        if (self.facts.device, self.facts.environment) != (expected.device, expected.environment):
            names = differences(self.facts.environment, expected.environment)
            raise DeviceError(
                f"its machines differ in {', '.join(names) or 'their device'}",
                field="--ray",
                fix="a run is one environment: use machines of one kind",
            )
        return self.facts

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        """Render one request; see ``Renderer``. Steps are not told.

        Raises:
            DeviceLostError: the actor, or its machine, was lost.
            DeviceError: the whole cluster was lost.
        """
        self.begin()
        with self._losing():
            answer = self._cluster.ray.get(self._handle.render.remote(request, self._cluster.lora(request)))
        done: Render = _content(answer)
        return done

    def close(self) -> None:
        """End the actor; one that is lost has ended."""
        if self._handle is not None:
            with suppress(HarnessError), self._losing():
                self._cluster.ray.kill(self._handle)
            self._handle = self.facts = None

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Say in one line that the actor was lost, or the cluster with it."""
        ray = self._cluster.ray
        try:
            yield
        except Exception as error:  # Ray's own errors, and whatever its client raises once it is cut off
            if not ray.is_initialized():
                raise DeviceError(
                    f"the cluster was lost ({_reason(error)})",
                    field="--ray",
                    fix="repeat the command: it goes on",
                ) from error
            raise DeviceLostError(f"a Ray worker was lost ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Return the last line of what Ray says: there stands what went wrong, after where it did."""
    return str(error).strip().rpartition("\n")[2].strip()[:MAX_REASON]


def _content(answer: tuple[str, Any]) -> Any:
    """Return what an actor gave; raise what it refused."""
    kind, content = answer
    if kind == "error":
        raise content
    return content


class _Serving:
    """What runs in the actor."""

    def __init__(self, device: str, make: Make) -> None:
        self._device, self._make = device, make
        self._renderer: Renderer | None = None
        self._loras = tempfile.TemporaryDirectory(prefix="harness-loras-")

    def facts(self) -> tuple[str, Any]:
        from harness.pipeline.load import free_memory
        from harness.runs.environment import environment
        from harness.schema.device import choose_device

        try:
            device = self._device = choose_device(self._device)
        except HarnessError as error:
            return "error", error
        free = free_memory() if device == "cuda" else 0
        return "facts", Facts(os.getpid(), device, environment(device), code_sha256(), free)

    def render(self, request: RenderRequest, lora: bytes | None) -> tuple[str, Any]:
        try:
            self._renderer = self._renderer or self._make(self._device)
            return "render", self._renderer.render(self._here(request, lora))
        except HarnessError as error:
            return "error", error

    def _here(self, request: RenderRequest, lora: bytes | None) -> RenderRequest:
        """Return the request with its LoRA in a file of this machine, and see that a local base is here."""
        if request.base.path is not None and not Path(request.base.path).is_dir():
            raise CheckpointError(
                "does not exist on a worker of the cluster", file=request.base.path, fix="copy it there"
            )
        if request.lora is None or lora is None:
            return request
        file = Path(self._loras.name) / f"{request.lora.sha256}.safetensors"
        if not file.exists():
            write_bytes(file, lora)
        return dataclasses.replace(request, lora=dataclasses.replace(request.lora, file=file))


def _import_ray() -> Any:
    """Import Ray, told not to start a cluster of its own here where the one that was asked for is lost."""
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        import ray
    except ImportError as error:
        raise HarnessError(
            "needs Ray, which is not installed", field="--ray", fix='pip install "flex2-harness[ray]"'
        ) from error
    return ray
