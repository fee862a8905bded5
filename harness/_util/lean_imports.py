"""Imports of a process of the harness's own without packages that a render does not use.

transformers and PEFT import such packages wherever they are installed, and take it in their stride where they
are not.
"""

from __future__ import annotations

import gc
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from harness._util.installed_packages import packages_distributions

UNUSED = ("bitsandbytes", "sklearn", "torchao", "torchvision")
"""What libraries import for quantized layers, losses and pictures as input."""

_LOOK_ONCE = ("accelerate", "diffusers", "peft", "transformers")
"""Libraries that look for ``UNUSED`` once, when they are imported; diffusers counts on what it found."""

_without_unused: set[str] = set()
"""Those that were imported in a block, so that they found none."""

_is_own_process = False
_may_hold_pipeline = False


@contextmanager
def own_process() -> Iterator[None]:
    """Say that within the block this process is the harness's own: nobody else's code shares its imports."""
    global _is_own_process  # noqa: PLW0603 - what a process is
    before, _is_own_process = _is_own_process, True
    try:
        yield
    finally:
        _is_own_process = before


def share_process() -> None:
    """Say that others' code, or commands of any kind, will run in this process."""
    global _is_own_process  # noqa: PLW0603
    _is_own_process = False


def freeze_imports() -> None:
    """Let Python's garbage collector never again look at what exists by now, in a process of our own.

    It would go through all that libraries created, for up to half a second at a time. Once there may be a
    pipeline, which must be freed some day, it is too late: see ``pipeline_may_exist``.
    """
    if _is_own_process and not _may_hold_pipeline:
        gc.freeze()


def pipeline_may_exist() -> None:
    """Say that from now on something may be garbage one day that is large."""
    global _may_hold_pipeline  # noqa: PLW0603
    _may_hold_pipeline = True


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import libraries within the block as if ``UNUSED`` were not installed; after it they can be imported.

    Libraries remember what they did not find: what they offer for such a package stays away. Packages that
    are imported already stay. In a process that others' code shares, nothing is left out, and neither after
    a library was imported outside of such a block: it counts on what it found.
    """
    modules: dict[str, Any] = sys.modules
    may_hide = _is_own_process and _imported(modules) <= _without_unused
    hidden = [name for name in UNUSED if name not in modules] if may_hide else []
    modules.update(dict.fromkeys(hidden))  # an import then fails: Python's own rule for None
    try:
        with _one_inventory():
            yield
    finally:
        if may_hide:
            _without_unused.update(_imported(modules))
        for name in hidden:
            if name in modules and modules[name] is None:
                del modules[name]


def _imported(modules: Mapping[str, Any]) -> set[str]:
    return {name for name in _LOOK_ONCE if name in modules}


@cache
def _listed() -> dict[str, list[str]]:
    return packages_distributions()


@contextmanager
def _one_inventory() -> Iterator[None]:
    """List the installed packages once and quickly: transformers and diffusers ask for it at import."""
    listed: Callable[[], Mapping[str, list[str]]] = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = lambda: {name: [*found] for name, found in _listed().items()}
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = listed
