"""Fuzz every parser of foreign bytes: whatever comes in, a value or one line comes out.

    python -m tests.fuzz [--seconds 1800] [--target NAME] [--findings FOLDER]

Needs ``pip install atheris`` (coverage-guided; its own environment will do); without it, bytes of genuine
files are changed at random. Time is divided evenly over the targets, each in a process of its own. Any
exception but a ``HarnessError`` is a finding, and so is an input that takes more than 20 s or 3 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.fuzz import ENGINE, fuzz_one


def main() -> None:
    """Fuzz all targets, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1800, help="for all targets together")
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--findings", type=Path, help="keep the inputs of findings there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    findings = options.findings or Path(tempfile.mkdtemp(prefix="fuzz-"))
    findings.mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz_one(options.target, options.seconds, findings, options.seed)
        return
    from tests.fuzz.targets import TARGETS

    names = [options.target] if options.target else list(TARGETS)
    print(f"{ENGINE}, seed {options.seed}, {options.seconds:g} s over {len(names)} targets")
    print(f"{'parser':<22} {'inputs':>9} {'refused':>9} {'crashed':>8}  findings")
    total = 0
    for name in names:
        share = options.seconds / len(names)
        command = [sys.executable, "-m", "tests.fuzz", "--here", f"--target={name}", f"--seconds={share}"]
        command += [f"--findings={findings}", f"--seed={options.seed}"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        counts = json.loads((findings / f"{name}.json").read_text())
        total += counts["inputs"]
        crashed = "yes" if done.returncode else "no"
        found = ", ".join(counts["places"]) or "-"
        print(f"{name:<22} {counts['inputs']:>9} {counts['refused']:>9} {crashed:>8}  {found}", flush=True)
        if done.returncode:
            print("\n".join(done.stderr.splitlines()[-15:]))
    print(f"{total} inputs")


if __name__ == "__main__":
    main()
