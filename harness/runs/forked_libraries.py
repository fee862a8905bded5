"""Imports what renders; for the process from which renderers are forked, see ``fork_server``."""

import gc
import os
from importlib import import_module

from harness._util.garbage_collector import pause_collection
from harness._util.lean_imports import lean_imports, own_process
from harness._util.quiet_libraries import quiet_libraries
from harness.pipeline.load import quiet

LIBRARIES = ("torch", "torch._dynamo", "transformers", "peft", "diffusers.models")
PIPELINE = ("harness.pipeline.renderer", "harness.pipeline.flex2")


def import_all(names: tuple[str, ...]) -> None:
    """Import modules; before each of them it is seen whether anyone is left to render for."""
    for name in names:
        if os.getppid() != parent:
            os._exit(0)
        import_module(name)


parent = os.getppid()
quiet_libraries()
with own_process(), lean_imports(), pause_collection():
    import_all(LIBRARIES)
    with quiet():
        import_all(PIPELINE)
gc.freeze()  # a collection would write to memory that forks share
