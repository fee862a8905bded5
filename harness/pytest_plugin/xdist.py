"""pytest-xdist: one GPU per worker, cases that share weights on one worker."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from math import ceil
from typing import TypeVar

import pytest

from harness.runs.gpus import visible_gpus

Key = TypeVar("Key", bound=Hashable)


def pin_worker_to_gpu() -> None:
    """In an xdist worker, make GPU ``i`` modulo the number of GPUs the only visible one for worker ``i``."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    gpus = visible_gpus()
    if worker.startswith("gw") and gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(worker.removeprefix("gw")) % len(gpus)]


def group_by_weights(config: pytest.Config) -> None:
    """With ``--gpu -n N`` and no ``--dist``, let xdist keep groups together instead of single tests."""
    if config.option.gpu and getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"


def name_groups(items: Sequence[pytest.Item]) -> None:
    """Put the group of every grouped item behind its id: xdist's scheduler sees nothing else of it.

    xdist does so itself, but up to 3.8 in a field that pytest 9.2 no longer reads (pytest-xdist #1386).
    """
    for item in items:
        group = _marked(item)
        if group is not None and group_of(item) is None and hasattr(item, "_id"):
            item._id = type(item._id).parse(f"{item.nodeid}@{group}")


def group_of(item: pytest.Item) -> str | None:
    """Return the group that xdist keeps ``item`` in; None where it may go to any worker."""
    group = _marked(item)
    return group if group is not None and item.nodeid.endswith(f"@{group}") else None


def _marked(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("xdist_group")
    return None if mark is None else str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))


def worker_count() -> int:
    """Return how many xdist workers there are; 1 without xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def score_workers(device: str) -> int:
    """Return how many processes score for this xdist worker: its part of what the machine has for all."""
    from harness.runs.scoring_pool import default_workers

    return ceil(default_workers(device, worker_count()) / worker_count())


def groups(keys: Sequence[Key], workers: int) -> list[str]:
    """Name a group for each item: items with one key share a group, unless it is more than a worker's part.

    Args:
        keys: what each item loads; equal keys share loaded weights.
        workers: how many workers share the items.

    Returns:
        One name for each item. A key with more than ``ceil(items / workers)`` items is split into groups of
        that size: loading weights twice costs less than a worker without work.
    """
    part = ceil(len(keys) / workers) if keys else 1
    place = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    seen: Counter[Key] = Counter()
    names = []
    for key in keys:
        names.append(f"weights{place[key]}.{seen[key] // part}")
        seen[key] += 1
    return names
