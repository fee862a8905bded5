"""Weights in GGUF files: where they lie, and what their blocks mean. Files are read, not mapped.

Source: the format's description, ``docs/gguf.md`` of ``ggml-org/ggml``. The gguf package names the types,
knows their sizes and unpacks them.
"""

from __future__ import annotations

import importlib
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from harness.errors import CheckpointError
from harness.precision.availability import require_package
from harness.precision.weights_file import StoredWeight

if TYPE_CHECKING:
    import torch

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""By the number of a value's type, how ``struct`` reads it."""
_STRING, _ARRAY = 8, 9
MAX_ENTRIES, MAX_DIMENSIONS = 1 << 20, 4
"""Values or tensors that one header lists at most, and dimensions of a tensor."""

_FIX = "copy the file again"


class _DamagedError(Exception):
    """The header ends early, or says what cannot be."""


def gguf_weights(file: Path) -> dict[str, StoredWeight]:
    """Return every tensor of a GGUF file, from its header alone.

    Raises:
        CheckpointError: the gguf package is not installed; no GGUF file, truncated, or damaged.
    """
    require_package("gguf", file)
    try:
        with file.open("rb") as stream:
            return _tensors(file, _Header(stream, file.stat().st_size))
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", file=file) from error
    except (_DamagedError, UnicodeDecodeError, struct.error) as error:
        raise CheckpointError(f"is no whole GGUF file ({error})", file=file, fix=_FIX) from error


def unpacked(weight: StoredWeight, data: torch.Tensor) -> torch.Tensor:
    """Return what some rows of blocks mean, rows × in, fp32.

    Args:
        data: the stored bytes, rows × bytes of a row.

    Raises:
        CheckpointError: of a type that the gguf package does not unpack, or a number is not finite.
    """
    import torch

    numpy, package, quants = (importlib.import_module(name) for name in ("numpy", "gguf", "gguf.quants"))
    kind = getattr(package.GGMLQuantizationType, weight.dtype, None)
    try:
        with numpy.errstate(all="ignore"):
            made = torch.from_numpy(quants.dequantize(data.numpy(), kind).astype("float32", copy=False))
    except (NotImplementedError, AttributeError) as error:
        found = f"holds a weight of type {weight.dtype}, which the gguf package does not unpack"
        raise CheckpointError(found, file=weight.file, field="--base") from error
    if not made.sum().isfinite():
        found = f"holds a weight of type {weight.dtype} that is NaN or infinite"
        raise CheckpointError(found, file=weight.file, field="--base", fix=_FIX)
    return made


class _Header:
    """Reads one value after the other; none is longer than the file."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self.size = stream, size

    @property
    def place(self) -> int:
        """Bytes that were read."""
        return self._stream.tell()

    def number(self, code: str) -> Any:
        """Return one number, little-endian."""
        return struct.unpack(f"<{code}", self._bytes(struct.calcsize(f"<{code}")))[0]

    def count(self) -> int:
        """Return how many entries follow."""
        found: int = self.number("Q")
        if found > MAX_ENTRIES:
            raise _DamagedError(f"it lists {found} entries")
        return found

    def text(self) -> str:
        """Return a string."""
        return self._bytes(self.number("Q")).decode()

    def value(self, kind: int, depth: int = 0) -> Any:
        """Return a value, a list where it is an array."""
        if kind == _STRING:
            return self.text()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _ARRAY or depth:
            raise _DamagedError(f"it has a value of type {kind}")
        item = self.number("I")
        return [self.value(item, depth + 1) for _ in range(self.count())]

    def _bytes(self, count: int) -> bytes:
        data = self._stream.read(count) if count <= self.size else b""
        if len(data) != count:
            raise _DamagedError("it ends in its header")
        return data


def _tensors(file: Path, header: _Header) -> dict[str, StoredWeight]:
    if header.number("4s") != MAGIC:
        raise _DamagedError("it does not begin with GGUF")
    if (version := header.number("I")) not in VERSIONS:
        raise _DamagedError(f"version {version}; 2 and 3 are read")
    tensors, values = header.count(), header.count()
    known = {header.text(): header.value(header.number("I")) for _ in range(values)}
    entries = [_entry(header) for _ in range(tensors)]
    alignment = known.get(_ALIGNMENT, 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise _DamagedError(f"its alignment is {alignment}")
    start = -(-header.place // alignment) * alignment
    return {
        name: _stored(file, header.size, name, shape, kind, start + offset)
        for name, shape, kind, offset in entries
    }


def _entry(header: _Header) -> tuple[str, tuple[int, ...], int, int]:
    """Return a tensor's name, shape with rows first, type and offset."""
    name, dimensions = header.text(), header.number("I")
    if dimensions > MAX_DIMENSIONS:
        raise _DamagedError(f"{name} has {dimensions} dimensions")
    shape = tuple(header.number("Q") for _ in range(dimensions))
    return name, shape[::-1], header.number("I"), header.number("Q")


def _stored(file: Path, size: int, name: str, shape: tuple[int, ...], kind: int, begin: int) -> StoredWeight:
    package = importlib.import_module("gguf")
    try:
        known = package.GGMLQuantizationType(kind)
        block = package.GGML_QUANT_SIZES[known]
    except (ValueError, KeyError):  # it may be newer than the package, and of a tensor that is not needed
        return StoredWeight(file, f"number {kind}", shape, begin, (0, 0))
    weights, width = block
    if shape and shape[-1] % weights:
        raise _DamagedError(f"the rows of {name}, {shape[-1]} wide, are no whole blocks of {known.name}")
    if begin + math.prod(shape) // weights * width > size:
        raise _DamagedError(f"it ends before the end of {name}")
    return StoredWeight(file, known.name, shape, begin, block)
