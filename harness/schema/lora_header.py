"""Header and weights of a safetensors LoRA file, read without torch and without executing anything.

Keys, shapes and metadata come from the header; weights are only searched for NaN and infinity.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import LoraError, UnrenderableLoraError

MAX_HEADER = 16 << 20
"""Largest header that is read, in bytes; a LoRA of every layer of Flex.2 needs 0.1 MB."""

MAX_TENSORS = 10_000
"""Most tensors of one file; a LoRA of every layer of Flex.2 has under a thousand."""

_EXPONENTS = {"F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""By dtype: how a number is stored, and the exponent bits, all of which are set in NaN and infinity."""

_CHUNK = 1 << 22
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header describes it; ``dtype`` is the format's own name, e.g. ``BF16``."""

    dtype: str
    shape: tuple[int, ...]


def check_start(path: Path) -> None:
    """Refuse a file that is not safetensors by its first bytes, before a library opens it.

    Raises:
        LoraError: a pickle, which is left unread; not safetensors; truncated in its header.
        OSError: missing, or not readable.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise LoraError("is not a regular file", file=path)
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{":
        if start.startswith((_ZIP, _PICKLE)):
            found = "is a pickle, which can run any code when loaded; it was not read"
            raise LoraError(found, file=path, fix="use the .safetensors file that AI Toolkit wrote")
        fix = "it may be truncated, or a download page: copy it again"
        raise LoraError("is not a safetensors file", file=path, fix=fix)
    if length > MAX_HEADER:
        raise LoraError(f"claims a header of {length} bytes; at most {MAX_HEADER} are read", file=path)
    if length > size - 8:
        found = f"is truncated: {size} bytes, and its header alone needs {length + 8}"
        raise LoraError(found, file=path, fix="copy it again")


def read_header(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors in the order of their bytes, and the metadata.

    Raises:
        LoraError: truncated, not valid safetensors, or with a tensor of another dtype than F32, F16, BF16.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            keys, metadata = file.offset_keys(), file.metadata() or {}
            if len(keys) > MAX_TENSORS:
                raise LoraError(f"lists {len(keys)} tensors; at most {MAX_TENSORS} are read", file=path)
            slices = {key: file.get_slice(key) for key in keys}
    except SafetensorError as error:
        found = f"is truncated or not a valid safetensors file ({error})"
        raise LoraError(found, file=path, fix="copy it again") from error
    tensors = {key: Tensor(view.get_dtype(), tuple(view.get_shape())) for key, view in slices.items()}
    for key, tensor in tensors.items():
        if tensor.dtype not in _EXPONENTS:
            fix = "AI Toolkit saves LoRAs in " + ", ".join(_EXPONENTS)
            raise LoraError(f"is of dtype {tensor.dtype}", file=path, field=key, fix=fix)
    return tensors, metadata


def hash_finite_weights(path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, float]]:
    """Return the SHA-256 of the file and the value of every tensor that is a single number.

    Raises:
        LoraError: a weight is NaN or infinite, or the file became shorter meanwhile.
    """
    import numpy as np

    numbers = {}
    with path.open("rb") as file:
        start = file.read(8)
        digest = hashlib.sha256(start + file.read(int.from_bytes(start, "little")))
        for key, tensor in tensors.items():
            layout, exponent = _EXPONENTS[tensor.dtype]
            size = math.prod(tensor.shape)
            left = size * np.dtype(layout).itemsize
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise LoraError("became shorter while it was read", file=path, fix="copy it again")
                left -= len(data)
                digest.update(data)
                if ((np.frombuffer(data, layout) & exponent) == exponent).any():
                    fix = "the training diverged: leave these steps out, or use an earlier checkpoint"
                    found = "holds weights that are NaN or infinite"
                    raise UnrenderableLoraError(found, file=path, field=key, fix=fix)
            if size == 1:
                numbers[key] = _number(data, tensor.dtype)
    return digest.hexdigest(), numbers


def _number(data: bytes, dtype: str) -> float:
    import numpy as np

    if dtype == "BF16":  # the upper half of an F32
        data, dtype = b"\0\0" + data, "F32"
    return float(np.frombuffer(data, "<f4" if dtype == "F32" else "<f2")[0])
