"""The process from which renderers on the CPU are forked; it imports libraries once, beside this one."""

from __future__ import annotations

import multiprocessing
import os

from harness._util.signals import shield_children

MAX_PROCESSES = 4
"""More would wait for one another's memory."""

_LIBRARIES = "harness.runs.forked_libraries"


def useful_processes() -> int:
    """Return how many processes may render on this machine's CPU at once; 1 where none can be forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_PROCESSES)


def begin() -> None:
    """Begin to import what renders, in a process of its own, unless that was begun before."""
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.set_forkserver_preload([_LIBRARIES])
    resource_tracker.ensure_running()  # started within the block it would end it: it unblocks Ctrl-C
    with shield_children():
        forkserver.ensure_running()
