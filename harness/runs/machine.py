"""What a run renders on: this machine, those of a Ray cluster, or a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness._util.garbage_collector import pause_collection
from harness._util.lean_imports import freeze_imports
from harness.errors import HarnessError
from harness.runs.plan import RunOptions
from harness.runs.tested_system import tested_system
from harness.runs.workers import make_renderer

if TYPE_CHECKING:
    from harness.runs.ray import Cluster
    from harness.systems.fetched_image import ImageSource


@dataclass(frozen=True)
class Machine:
    """What a run renders on.

    Attributes:
        device: ``cpu`` or ``cuda``.
        environment: the fingerprint that every row carries.
        cluster: the Ray cluster whose machines render instead of this one.
        system: another system under test, which renders instead of the reference pipeline.
    """

    device: str
    environment: dict[str, Any]
    cluster: Cluster | None = None
    system: ImageSource | None = None


@contextmanager
def machine_of(options: RunOptions) -> Iterator[Machine]:
    """Find the machine that ``options`` ask for; its server or cluster is left when the block ends.

    Raises:
        HarnessError: the options contradict each other, or device, server or cluster cannot be used.
    """
    _refuse_contradictions(options)
    if options.tests_system:
        with tested_system(options) as system:
            here = _machine_here(options.device if options.against_reference else "cpu")
            facts = {**here.environment, "server": system.facts}
            yield replace(here, environment=facts, system=system)
    elif options.ray is not None:
        with closing(_cluster(options)) as cluster:
            yield Machine(cluster.facts.device, cluster.facts.environment, cluster)
    else:
        yield _machine_here(options.device)


def _refuse_contradictions(options: RunOptions) -> None:
    if not options.tests_system and options.against_reference:
        fix = "give --server URL or --comfy URL too"
        raise HarnessError("needs --server or --comfy", field="--against-reference", fix=fix)
    if options.comfy is None and options.comfy_file:
        raise HarnessError("needs --comfy", field="--comfy-file", fix="give --comfy URL too")
    if not options.tests_system and options.ray is None and options.ray_workers is not None:
        raise HarnessError("needs --ray", field="--ray-workers", fix="give --ray ADDRESS too")
    if options.ray is not None and options.gpus:
        raise HarnessError("cannot be combined with --ray", field="--gpus", fix="give one of the two")


def _machine_here(wanted: str) -> Machine:
    from harness.runs.environment import environment
    from harness.schema.device import choose_device

    with pause_collection():
        device = choose_device(wanted)
        machine = Machine(device, environment(device))
        freeze_imports()
        return machine


def _cluster(options: RunOptions) -> Cluster:
    from harness.runs.ray import Cluster

    assert options.ray is not None
    return Cluster(options.ray, options.ray_workers, options.device, partial(make_renderer, options))
