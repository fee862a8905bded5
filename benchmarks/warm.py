"""Time from command to verdict, in a fresh process and in a warm one, alternately.

    python benchmarks/warm.py CASE [ROUNDS]

Prints wall time and processor time (user and system, the warm process's included), which a busy machine
stretches less. The warm process's first command, which loads the base, is not counted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HARNESS = [sys.executable, "-m", "harness"]


def processor_seconds(pid: int) -> float:
    """Return what children that ended and the process ``pid`` have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ended.ru_utime + ended.ru_stime + sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def timed(case: str, out: Path, pid: int, *options: str) -> tuple[float, float]:
    """Return wall and processor seconds of one run."""
    command = [*HARNESS, "run", case, "--fresh", "--out", str(out), *options]
    began, used = time.perf_counter(), processor_seconds(pid)
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    assert done.returncode in {0, 1}
    return time.perf_counter() - began, processor_seconds(pid) - used


def main(case: str, rounds: int = 3) -> None:
    """Measure, and print a line for each run."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        with subprocess.Popen([*HARNESS, "serve"], stdout=subprocess.DEVNULL) as server:
            while not Path(folder, "flex2-harness", "warm.sock").exists():
                time.sleep(0.1)
            timed(case, Path(folder, "first"), server.pid)
            for number in range(rounds):
                for kind, options in (("fresh", ("--no-serve",)), ("warm", ())):
                    wall, used = timed(case, Path(folder, f"{kind}{number}"), server.pid, *options)
                    print(f"{kind}  {wall:6.1f} s wall  {used:6.1f} s processor time", flush=True)
            server.terminate()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
