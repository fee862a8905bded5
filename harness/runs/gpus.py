"""The GPUs of this host, without torch."""

from __future__ import annotations

import os
import subprocess
from itertools import takewhile

from harness.errors import DeviceError


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; -1 ends its list."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = (name.strip() for name in chosen.split(","))
        return [name for name in takewhile(lambda name: name != "-1", names) if name]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


def choose_gpus(wanted: str) -> tuple[str, ...]:
    """Return the GPUs that ``all`` or a number means.

    Raises:
        DeviceError: there are fewer, or ``wanted`` is neither.
    """
    found = visible_gpus()
    if wanted != "all" and not (wanted.isascii() and wanted.isdigit() and int(wanted) > 0):
        raise DeviceError(f"{wanted!r} is no number of GPUs", field="--gpus", fix="give all, or a number")
    count = len(found) if wanted == "all" else int(wanted)
    if not 0 < count <= len(found):
        asked = "any" if wanted == "all" else wanted
        raise DeviceError(
            f"asked for {asked}, and {len(found)} are visible", field="--gpus", fix="see harness doctor"
        )
    return tuple(found[:count])
