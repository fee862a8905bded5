"""Where tensors lie in the files that a library mapped them from.

Libraries rename and tie weights, so that names say nothing of it. Linux tells what of a file is mapped at an
address, and whether it was written to; elsewhere nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

MAPPINGS = Path("/proc/self/smaps")

_START = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ +(/.*)$")
_WRITTEN = re.compile(r"(?:Anonymous|Swap): +[1-9]")
"""Pages that are this process's own. Others may be dirty: the system has not written the file out yet."""

Place = tuple[str, int]
"""A file's path, and the position of a tensor's first byte in it."""


class _Region(NamedTuple):
    """Addresses at which a file is mapped, from ``offset`` in the file on."""

    begin: int
    end: int
    offset: int
    file: str

    @classmethod
    def of(cls, found: tuple[str, ...]) -> _Region:
        begin, end, offset = (int(number, 16) for number in found[:3])
        return cls(begin, end, offset, found[3])


def unwritten_places(tensors: Iterable[Tensor], files: Container[str]) -> dict[int, Place]:
    """Return, by id, the place of tensors that lie in one of ``files``, mapped and never written to."""
    regions, found = [region for region in _regions() if region.file in files], {}
    for tensor in tensors:
        address = tensor.data_ptr()
        for region in regions:
            if region.begin <= address < region.end:
                found[id(tensor)] = (region.file, region.offset + address - region.begin)
    return found


def _regions() -> Iterator[_Region]:
    """Yield what is mapped of files in this process, and was never written to."""
    try:
        lines = MAPPINGS.read_text().splitlines()
    except OSError:
        return
    region, written = None, False
    for line in [*lines, "0-0 end"]:
        if _START.match(line):
            if region is not None and not written:
                yield region
            mapped = _MAPPING.match(line)
            region, written = _Region.of(mapped.groups()) if mapped is not None else None, False
        elif _WRITTEN.match(line):
            written = True
