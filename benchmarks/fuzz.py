"""Fuzz every parser of foreign bytes: whatever comes in, a value or one line comes out.

    python benchmarks/fuzz.py [--seconds 1800] [--target NAME] [--findings FOLDER]

Needs ``pip install atheris`` (coverage-guided; its own environment will do); without it, bytes of genuine
files are changed at random. Time is divided evenly over the targets, each in a process of its own. Any
exception but a ``HarnessError`` is a finding, and so is an input that takes more than 20 s or 3 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None  # type: ignore[assignment]

sys.path.insert(0, str(Path(__file__).parent))

SLOW_SECONDS, MOST_MEGABYTES = 20, 3000


class Tally:
    """Counts inputs, and keeps one input for each place that raised what it should not."""

    def __init__(self, name: str, folder: Path, read: Callable[[bytes], object]) -> None:
        from harness.errors import HarnessError

        self._expected, self._read = HarnessError, read
        self._folder, self._name = folder, name
        self.inputs = self.refused = 0
        self.places: dict[str, str] = {}

    def __call__(self, data: bytes) -> None:
        """Read one input."""
        self.inputs += 1
        try:
            self._read(data)
        except self._expected as error:
            self.refused += 1
            if "\n" in str(error):
                self._found("a message of several lines", data)
        except Exception as error:
            frame = next(
                f for f in reversed(traceback.extract_tb(error.__traceback__)) if "harness" in f.filename
            )
            self._found(f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}", data)
        if self.inputs % 200 == 0:
            self.save()

    def _found(self, place: str, data: bytes) -> None:
        if place not in self.places:
            self.places[place] = f"{self._name}-{len(self.places)}"
            (self._folder / self.places[place]).write_bytes(data)
            self.save()

    def save(self) -> None:
        """Write the counts."""
        counts = {"inputs": self.inputs, "refused": self.refused, "places": self.places}
        (self._folder / f"{self._name}.json").write_text(json.dumps(counts))


def mutated(random_: random.Random, corpus: list[bytes]) -> bytes:
    """Return a file of the corpus with a few bytes changed, cut, repeated or taken from another."""
    data = bytearray(random_.choice(corpus))
    for _ in range(random_.randint(1, 6)):
        at = random_.randrange(len(data) + 1)
        length = random_.randint(1, 40)
        action = random_.randrange(4)
        if action == 0 and data:
            data[at % len(data)] = random_.randrange(256)
        elif action == 1:
            del data[at : at + length]
        elif action == 2:
            data[at:at] = data[at : at + length]
        else:
            other = random_.choice(corpus)
            start = random_.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
    return bytes(data)


def fuzz_one(name: str, seconds: float, findings: Path, seed: int) -> None:
    """Fuzz one target in this process until the time is over."""
    if atheris is not None:
        with atheris.instrument_imports(include=["harness"], enable_loader_override=False):
            from fuzz_targets import TARGETS
    else:
        from fuzz_targets import TARGETS

    work = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    target = TARGETS[name](work)
    tally = Tally(name, findings, target.read)
    for sample in target.corpus:
        tally(sample)
    tally.save()
    if atheris is None:
        random_, end = random.Random(seed), time.monotonic() + seconds
        while time.monotonic() < end:
            tally(mutated(random_, target.corpus))
        tally.save()
        return
    corpus = work / "corpus"
    corpus.mkdir()
    for number, sample in enumerate(target.corpus):
        (corpus / str(number)).write_bytes(sample)
    limits = [
        f"-max_total_time={int(seconds)}",
        f"-timeout={SLOW_SECONDS}",
        f"-rss_limit_mb={MOST_MEGABYTES}",
    ]
    arguments = [
        sys.argv[0],
        *limits,
        f"-seed={seed}",
        f"-artifact_prefix={findings}/{name}-crash-",
        "-max_len=20000",
    ]
    atheris.Setup([*arguments, str(corpus)], tally)
    atheris.Fuzz()


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
    from fuzz_targets import TARGETS

    names = [options.target] if options.target else list(TARGETS)
    engine = "atheris" if atheris is not None else "random changes"
    print(f"{engine}, seed {options.seed}, {options.seconds:g} s over {len(names)} targets")
    print(f"{'parser':<22} {'inputs':>9} {'refused':>9} {'crashed':>8}  findings")
    total = 0
    for name in names:
        share = options.seconds / len(names)
        command = [sys.executable, __file__, "--here", f"--target={name}", f"--seconds={share}"]
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
