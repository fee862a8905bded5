"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
JOB = ROOT / "harness/data/jobs/emoji_inkprint"


@dataclass(frozen=True)
class Target:
    """A parser and the files it is known to read."""

    read: Callable[[bytes], object]
    corpus: list[bytes]


def in_file(file: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    """Return a function that puts bytes into ``file`` and calls ``read``."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def from_bytes(data: bytes) -> object:
        file.write_bytes(data)
        return read()

    return from_bytes
