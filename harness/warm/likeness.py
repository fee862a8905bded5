"""What two processes must have in common to render the same bits: sources, packages, environment.

None of it imports a package, so that a command knows at once whether a warm process can stand in for it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).parent.parent

READ_ONCE = (
    "ATEN", "CUBLAS", "CUDA", "CUDNN", "DIFFUSERS", "GOMP", "HF_", "HUGGINGFACE", "KMP", "LANG", "LC_", "LD_",
    "MIOPEN", "MKL", "NCCL", "NVIDIA", "OMP", "ONEDNN", "OPENBLAS", "PYTHON", "PYTORCH", "TORCH",
    "TRANSFORMERS", "TRITON", "XDG_CACHE",
)  # fmt: skip
"""Beginnings of the variables that libraries read once, when they are imported."""


def likeness(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what must be equal, each part by what it is called.

    Args:
        environment: the process's variables as they were when it began.
    """
    here = {
        "Python": f"{platform.python_version()} of {sys.prefix}",
        "state of the harness's sources": _sources(),
        "number of processors": str(_processors()),
        **_packages(),
    }
    names = [name for name in environment if name.startswith(READ_ONCE)]
    return here | {f"value of ${name}": environment[name] for name in names}


def first_difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """Return what of two processes differs, without its values: a variable may hold a secret."""
    return next((name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)), None)


def _sources() -> str:
    """Return a hash of path and content of every source file of the harness."""
    whole = hashlib.sha256(str(PACKAGE).encode())
    for file in sorted(PACKAGE.rglob("*.py")):
        whole.update(file.relative_to(PACKAGE).as_posix().encode() + file.read_bytes())
    return whole.hexdigest()


def _packages() -> dict[str, str]:
    """Return the version of every installed package, as the names of their metadata folders say it."""
    found: dict[str, str] = {}
    for place in map(Path, dict.fromkeys(sys.path)):
        if place.name not in {"site-packages", "dist-packages"} or not place.is_dir():
            continue
        for name in sorted(os.listdir(place)):  # noqa: PTH208
            if not name.endswith((".dist-info", ".egg-info")):
                continue
            package, _, version = name.rpartition(".")[0].partition("-")
            found.setdefault(f"version of {package.lower().replace('_', '-')}", version)
    return found


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
