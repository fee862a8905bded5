"""The folder of compiled kernels, so that a process never uses those of another environment."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def use_cache(device: str) -> Path:
    """Point torch's compiler at the folder of this machine and these libraries, and return it.

    Its root is what ``TORCHINDUCTOR_CACHE_DIR`` says, else ``flex2-harness/compiled`` in the user's cache:
    torch itself sets that variable when it is imported, to a folder that does not outlive a restart.
    Another torch build, GPU, processor or library version is another folder; inside it torch keys every
    kernel by its source as well.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    key = cache_key(device)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    given = os.environ.get(VARIABLE)
    root = Path(given) if given and given != default_cache_dir() else home / "flex2-harness" / "compiled"
    folder = root if root.name == key else root / key
    os.environ[VARIABLE] = str(folder)
    return folder


def cache_key(device: str) -> str:
    """Return a short hash of everything outside a kernel's source that its code depends on."""
    facts: dict[str, Any] = {
        "torch": [torch.__version__, torch.version.git_version, torch.version.cuda],
        "packages": {name: _version(name) for name in ("diffusers", "triton", "numpy")},
        "python": platform.python_version(),
        "cpu": [platform.machine(), torch.backends.cpu.get_cpu_capability()],
    }
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        facts["gpu"] = [gpu.name, gpu.major, gpu.minor]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
