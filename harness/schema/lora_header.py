"""Header and weights of a safetensors LoRA file, read without torch or numpy, and without executing anything.

Keys, shapes and metadata come from the header; weights are only searched for NaN and infinity.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from harness._util.mixed_up_files import MAX_HEAD, what_came_instead
from harness._util.validation import first_problem
from harness.errors import LoraError, UnrenderableLoraError

MAX_HEADER = 16 << 20
"""Largest header that is read, in bytes; a LoRA of every layer of Flex.2 needs 0.1 MB."""

MAX_TENSORS = 10_000
"""Most tensors of one file; a LoRA of every layer of Flex.2 has under a thousand."""

FLOAT8 = "F8_E4M3"
"""The dtype of ``save.dtype: float8``."""

_BYTES = {"F32": 4, "F16": 2, "BF16": 2, FLOAT8: 1}
"""Bytes of a number by its dtype."""

_CHUNK = 1 << 20
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header describes it; ``dtype`` is the format's own name, e.g. ``BF16``."""

    dtype: str
    shape: tuple[int, ...]


def _check_start(path: Path) -> None:
    """Refuse a file that is not safetensors by its first bytes, before a library opens it."""
    size = path.stat().st_size
    if path.is_dir():
        raise LoraError("is a folder", file=path, fix="name a .safetensors file in it")
    if not path.is_file():
        raise LoraError("is not a regular file", file=path)
    with path.open("rb") as file:
        head = file.read(MAX_HEAD)
    if (instead := what_came_instead(head)) is not None:
        raise LoraError(instead[0], file=path, fix=instead[1])
    start = head[:9]
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{":
        if start.startswith((_ZIP, _PICKLE)):
            found = "is a pickle, which can run any code when loaded; it was not read"
            if path.suffix == ".zip":
                found = "is a zip, which may hold anything; it was not read"
            raise LoraError(found, file=path, fix="use the .safetensors file that AI Toolkit wrote")
        fix = "it may be truncated: copy it again"
        raise LoraError("is not a safetensors file", file=path, fix=fix)
    if length > MAX_HEADER:
        raise LoraError(f"claims a header of {length} bytes; at most {MAX_HEADER} are read", file=path)
    if length > size - 8:
        found = f"is truncated: {size} bytes, and its header alone needs {length + 8}"
        raise LoraError(found, file=path, fix="copy it again")


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, _Entry]

    metadata: dict[str, str] | None = Field(None, alias="__metadata__")


def read_header(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors in the order of their bytes, and the metadata.

    Raises:
        LoraError: a pickle, which is left unread; truncated, not valid safetensors, or with a tensor of
            another dtype than F32, F16, BF16, F8_E4M3.
        OSError: missing, or not readable.
    """
    _check_start(path)
    with path.open("rb") as file:
        text = file.read(int.from_bytes(file.read(8), "little"))
    try:
        header = _Header.model_validate_json(text)
    except ValidationError as error:
        field, found, _ = first_problem(error, _Header)
        raise _invalid(path, f"{field}: {found}" if field else found) from error
    entries = sorted(header.__pydantic_extra__.items(), key=lambda entry: entry[1].data_offsets)
    if len(entries) > MAX_TENSORS:
        raise LoraError(f"lists {len(entries)} tensors; at most {MAX_TENSORS} are read", file=path)
    end = 0
    for key, entry in entries:
        if entry.dtype not in _BYTES:
            fix = "AI Toolkit saves LoRAs in " + ", ".join(_BYTES)
            raise LoraError(f"is of dtype {entry.dtype}", file=path, field=key, fix=fix)
        begin, end = end, end + math.prod(entry.shape) * _BYTES[entry.dtype]
        if entry.data_offsets != (begin, end):
            raise _invalid(path, f"the offsets of {key} leave a gap, overlap, or do not fit its shape")
    if (expected := 8 + len(text) + end) != (size := path.stat().st_size):
        raise _invalid(path, f"it has {size} bytes, and its header says {expected}")
    tensors = {key: Tensor(entry.dtype, entry.shape) for key, entry in entries}
    return tensors, header.metadata or {}


def _invalid(path: Path, why: str) -> LoraError:
    return LoraError(f"is truncated or not a valid safetensors file ({why})", file=path, fix="copy it again")


def hash_finite_weights(
    path: Path, tensors: Mapping[str, Tensor]
) -> tuple[str, dict[str, float], frozenset[str]]:
    """Return the SHA-256 of the file, every single number that is no float8, and the keys of zero tensors.

    Raises:
        LoraError: a weight is NaN or infinite, or the file became shorter meanwhile.
    """
    numbers, zeros = {}, set(tensors)
    with path.open("rb") as file:
        start = file.read(8)
        digest = hashlib.sha256(start + file.read(int.from_bytes(start, "little")))
        for key, tensor in tensors.items():
            size = math.prod(tensor.shape)
            left = size * _BYTES[tensor.dtype]
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise LoraError("became shorter while it was read", file=path, fix="copy it again")
                left -= len(data)
                digest.update(data)
                if key in zeros and data.lstrip(b"\0"):
                    zeros.remove(key)
                if not _is_finite(data, tensor.dtype):
                    fix = "the training diverged: leave these steps out, or use an earlier checkpoint"
                    found = "holds weights that are NaN or infinite"
                    raise UnrenderableLoraError(found, file=path, field=key, fix=fix)
            if size == 1 and tensor.dtype != FLOAT8:
                numbers[key] = _number(data, tensor.dtype)
    return digest.hexdigest(), numbers, frozenset(zeros)


_FINITE = {
    "F16": bytes(byte for byte in range(256) if byte & 0x7C != 0x7C),
    "BF16": bytes(byte for byte in range(256) if byte & 0x7F != 0x7F),
}
"""By dtype: the highest bytes of numbers that are finite for certain. F32 begins as BF16 does.

float8 has two NaN, of the same bytes, and no infinity."""


def _is_finite(data: bytes, dtype: str) -> bool:
    """Say whether no exponent has all its bits set; without numpy, which would take 12 MiB of an import."""
    width = _BYTES[dtype]
    high = data[width - 1 :: width]
    if not high.translate(None, _FINITE["F16" if dtype == "F16" else "BF16"]):
        return True
    if dtype in {"F16", FLOAT8}:
        return False
    return not any(
        top & 0x7F == 0x7F and low & 0x80 for top, low in zip(high, data[width - 2 :: width], strict=False)
    )


def _number(data: bytes, dtype: str) -> float:
    if dtype == "BF16":  # the upper half of an F32
        data, dtype = b"\0\0" + data, "F32"
    return float(struct.unpack("<f" if dtype == "F32" else "<e", data)[0])
