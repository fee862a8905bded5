"""Print wall time and peak memory of ``harness demo`` in a fresh process, and the time of ``harness --help``.

python benchmarks/demo.py --busy 0 1 2
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def seconds(*command: str) -> float:
    """Run a command and return its wall time in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep ``count`` processes computing meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, nargs="+", default=[0], help="busy processes beside the demo")
    counts: list[int] = parser.parse_args().busy
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"harness --help: {min(seconds('harness', '--help') for _ in range(5)):.2f} s (best of 5)")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder, busy(count):
            out, cases = Path(folder) / "run", Path(folder) / "cases"
            wall = seconds("harness", "demo", "--out", str(out), "--cases", str(cases))
        print(f"harness demo beside {count} busy processes: {wall:.1f} s", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
