"""Feed one target with changed bytes, and keep one input for each place that raised what it should not."""

from __future__ import annotations

import json
import random
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

SLOW_SECONDS, MAX_MEGABYTES = 20, 3000
ENGINE = "random changes" if atheris is None else "atheris"


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
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS

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
        f"-rss_limit_mb={MAX_MEGABYTES}",
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
