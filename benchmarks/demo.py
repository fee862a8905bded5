"""Print wall time and peak memory of ``harness demo`` in a fresh process, and the time of ``harness --help``.

python benchmarks/demo.py
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import tempfile
import time
from pathlib import Path


def seconds(*command: str) -> float:
    """Run a command and return its wall time in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"harness --help: {min(seconds('harness', '--help') for _ in range(5)):.2f} s (best of 5)")
    with tempfile.TemporaryDirectory() as folder:
        out, cases = Path(folder) / "run", Path(folder) / "cases"
        wall = seconds("harness", "demo", "--out", str(out), "--cases", str(cases))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"harness demo: {wall:.1f} s, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
