"""Stop the harness everywhere, repeat the command, and compare with what an unbroken one leaves.

    python -m tests.faults [--attempts 50] [--only KIND] [--seed 1]

Each attempt stops a command at a random moment: killed at one of its file-system events, in the middle of a
write, or at any time; interrupted; or by a disk that takes no more. What it left is compared, then the same
command runs again. A row is lost if the unbroken command has it and the repeated one has not, doubled if two
lines have it; a file is corrupt if it is there and is not what the unbroken command left. Renders are
counted: only the one in flight may be made again. "Left over" are hidden files that the repeated command did
not take over, and renders that still wait for their scores. Exit code 0: nothing lost, doubled, corrupt,
rendered twice or left over, all recovered.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.faults.attempts import Workshop
from tests.faults.child import Ended, Fault, preload
from tests.faults.commands import FULL, INTERRUPTED, KINDS, Kind


def killed(random_: random.Random, ended: Ended) -> Fault:
    """A kill at a file-system event, at a time, or in the middle of a write."""
    way = random_.choice(("event", "event", "after", "size"))
    if way == "event":
        return Fault(event=random_.randint(1, ended.events))
    if way == "after":
        return Fault(after=random_.uniform(0, ended.seconds))
    return Fault(size=int(10 ** random_.uniform(0, 4.6)))


def interrupted(random_: random.Random, ended: Ended) -> Fault:
    """Ctrl-C at a file-system event, or at a time."""
    if random_.random() < 0.5:
        return Fault(event=random_.randint(1, ended.events), signal=signal.SIGINT)
    return Fault(after=random_.uniform(0, ended.seconds), signal=signal.SIGINT)


def full(random_: random.Random, ended: Ended) -> Fault:
    """A disk that takes no more than so many bytes for one file."""
    return Fault(full=int(10 ** random_.uniform(0, 4.6)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attempts", type=int, default=50, help="per kind of fault")
    parser.add_argument(
        "--only", action="append", help="part of a kind's name, e.g. 'kill run'; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    preload()
    rows: list[tuple[str, Kind, Callable[..., Fault]]] = [
        *((f"kill {name}", kind, killed) for name, kind in KINDS.items()),
        *((f"Ctrl-C {name}", KINDS[name], interrupted) for name in INTERRUPTED),
        *((f"full disk {name}", KINDS[name], full) for name in FULL),
    ]
    head = ("attempts", "lost", "doubled", "corrupt", "recovered", "rendered twice", "left over")
    print(f"{'kind of fault':<38}" + "".join(f"{name:>{len(name) + 2}}" for name in head))
    good = True
    with tempfile.TemporaryDirectory(dir=memory if (memory := Path("/dev/shm")).is_dir() else None) as folder:
        workshop = Workshop(Path(folder) / "workshop")
        for name, kind, faults in rows:
            if options.only and not any(part in name for part in options.only):
                continue
            result = workshop.attempts(kind, faults, options.attempts, options.seed)
            counts = result.counts
            note = f"  slowest end {result.slowest:.1f} s" if result.slowest else ""
            cells = "".join(f"{counts[each]:>{len(each) + 2}}" for each in head)
            print(f"{name:<38}{cells}{note}", flush=True)
            for problem in result.problems[:5]:
                print(f"    {problem}", flush=True)
            bad = ("lost", "doubled", "corrupt", "rendered twice", "left over")
            good &= not any(counts[each] for each in bad) and counts["recovered"] == counts["attempts"]
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
