"""The order of case items, which of them run, and which share a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import dropwhile

import pytest

from harness.pytest_plugin.items import CaseItem
from harness.pytest_plugin.xdist import group_of, groups, worker_count
from harness.runs.plan import RunOptions
from harness.runs.planned import Planned
from harness.schema.case import Case
from harness.schema.result import REFERENCE
from harness.sweeps.grid import Variant

SKIPPING = ("skip", "skipif")

Plan = Callable[[list[Case]], list[Planned]]


def plan_items(items: list[pytest.Item], plan: Plan) -> list[CaseItem]:
    """Give every case item its planned render; return them in the order in which weights change rarely.

    Raises:
        pytest.UsageError: two files hold a case of the same id: their results would overwrite each other.
    """
    by_id: dict[str, CaseItem] = {}
    for item in (item for item in items if isinstance(item, CaseItem)):
        if item.name in by_id:
            raise pytest.UsageError(
                f"{item.path} and {by_id[item.name].path} both hold the case {item.name!r}"
            )
        by_id[item.name] = item
    ordered = []
    for planned in plan([item.case for item in by_id.values()]):
        by_id[planned.case.id].planned = planned
        ordered.append(by_id[planned.case.id])
    return ordered


def planned_of(items: list[pytest.Item]) -> list[Planned]:
    """Return the planned renders of the case items among ``items``, in their order."""
    return [item.planned for item in items if isinstance(item, CaseItem) and item.planned is not None]


def variants_of(cases: list[Planned], sweep: list[Variant], options: RunOptions) -> dict[str, list[Planned]]:
    """Return a sweep's variants of every case, by its id."""
    if not sweep:
        return {}
    from harness.sweeps.sweep import plan_sweep

    by_case: dict[str, list[Planned]] = {}
    for item in plan_sweep([item.case for item in cases], sweep, options, options.device):
        if item.variant != REFERENCE:
            by_case.setdefault(item.case.id, []).append(item)
    return by_case


def nearest_of(cases: list[Planned], options: RunOptions) -> dict[str, list[Planned]]:
    """Return the renders of the checkpoints around every case without its own, by its id."""
    from harness.runs.neighbours import plan_nearest

    found = {item.case.id: plan_nearest(item.case, options, options.device) for item in cases}
    return {case: near for case, near in found.items() if near}


def following(item: Planned, nextitem: pytest.Item | None) -> Iterator[Planned]:
    """Yield the cases from ``nextitem`` on, in pytest's order, up to where something else comes first.

    That is another test, a case that a mark may skip, one that renders nothing, or a base other than that of
    ``item``. An xdist worker knows the next item, and that the rest of that item's group comes after it.
    """
    if nextitem is None or item.request is None:
        return
    for coming in dropwhile(lambda other: other is not nextitem, nextitem.session.items):
        planned = coming.planned if isinstance(coming, CaseItem) else None
        if planned is None or planned.request is None or planned.request.base != item.request.base:
            return
        if any(map(coming.get_closest_marker, SKIPPING)) or not _same_worker(nextitem, coming):
            return
        yield planned


def _same_worker(one: pytest.Item, other: pytest.Item) -> bool:
    if worker_count() == 1 or other is one:
        return True
    return group_of(one) is not None and group_of(one) == group_of(other)


def arrange(items: list[pytest.Item], cases: list[CaseItem], *, gpu: bool) -> list[pytest.Item]:
    """Put the planned ``cases`` in their order among ``items``, in place; return those that do not run.

    Other tests keep their order; the cases run together where the first of them stood. Without a GPU, cases
    whose base is not embedded are taken out. With xdist workers, each case is told its group.
    """
    dropped = [item for item in cases if not gpu and item.case.base.embedded is None]
    kept = [item for item in cases if gpu or item.case.base.embedded is not None]
    if worker_count() > 1:
        for item, name in zip(kept, groups([_weights(item) for item in kept], worker_count()), strict=True):
            item.add_marker(pytest.mark.xdist_group(name))
    first = next(index for index, item in enumerate(items) if isinstance(item, CaseItem))
    after = [item for item in items[first:] if not isinstance(item, CaseItem)]
    items[first:] = [*kept, *after]
    return list(dropped)


def _weights(item: CaseItem) -> tuple[str, ...]:
    if item.planned is None or item.planned.request is None:
        return ()
    return item.planned.request.weights_key
